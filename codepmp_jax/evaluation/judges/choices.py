r"""Judges which option a response takes (ReClor, LogiQA 2.0).

In this order:

1. the response is an option's text, or its letter alone: `B`, `(b)`, `B.`, `**B**`;
2. the last `\boxed{...}` is one of these;
3. what follows the last `answer`, `option` or `choice`, and at most `is` or a colon, is an option's text, or a
   letter: `The answer is (B)`, `Answer: b.`, `the correct option is B because`;
4. the last line that is not empty begins with a letter: `B. Some young ...`, `(B) Some ...`;
5. the last capital letter in brackets: `(B)`.

A letter that is no option's is passed over, and so is `A` before a word, as an article is, unless that gives a
reason (`A because`).
"""

from __future__ import annotations

import re
from typing import Any

from codepmp_jax.evaluation.judges.answers import last_box
from codepmp_jax.evaluation.judges.judgement import CORRECT, NO_ANSWER, WRONG, Judgement

_ALONE = re.compile(r"[\s*(\[]*([A-Za-z])[\s*)\].:]*")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{(.*)\}")
_NAMED = re.compile(
    r"\b(?i:answer|option|choice)\b[\s:=*]*(?i:is|would be|must be)?[\s:=*]*(?i:option|choice)?[\s:=*]*(?=(?P<rest>.*))"
)
_LETTER = re.compile(
    r"[(\[]([A-Za-z])[)\]]|([B-Z])\b(?!')|(A)\b(?!')(?! +(?!because|since|as|and|for)[a-z])|([a-z])(?=[.*]|\s*\Z)"
)
_LINE_START = re.compile(r"[*\s]*(?:\(([A-Z])\)|([A-Z])[.:)])(?:\s|\*|\Z)")
_BRACKETED = re.compile(r"\(([A-Z])\)")


def chosen_option(response: str, options: list[str]) -> int | None:
    """The place of the option that a response takes, by the rule above; None where it takes none."""
    texts = {_plain(text): place for place, text in enumerate(options)}

    def whole(text: str) -> int | None:
        alone = _ALONE.fullmatch(text)
        return texts.get(_plain(text), _place(alone, options))

    found = whole(response)
    if found is not None:
        return found
    box = last_box(response)
    if box is not None and (found := whole(_LATEX_TEXT.sub(r"\1", box))) is not None:
        return found
    for named in reversed(list(_NAMED.finditer(response))):
        found = texts.get(_plain(named["rest"]), _place(_LETTER.match(named["rest"]), options))
        if found is not None:
            return found
    lines = [line for line in response.splitlines() if line.strip()]
    found = _place(_LINE_START.match(lines[-1]), options) if lines else None
    if found is not None:
        return found
    bracketed = [_place(match, options) for match in _BRACKETED.finditer(response)]
    return next((place for place in reversed(bracketed) if place is not None), None)


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .*").lower()


def _place(found: re.Match[str] | None, options: list[str]) -> int | None:
    """The place of the letter that a pattern found, where an option has it."""
    if found is None:
        return None
    name = next(group for group in found.groups() if group)
    place = ord(name.upper()) - ord("A")
    return place if place < len(options) else None


def prepare() -> None:
    """Nothing to be imported."""


def judge(task: str, prompt: str, reference: dict[str, Any], response: str) -> Judgement:
    """Compares the option that a response takes with reference["answer"], its place among the options."""
    place = chosen_option(response, reference["options"])
    if place is None:
        return Judgement(False, None, NO_ANSWER)
    is_correct = place == reference["answer"]
    return Judgement(is_correct, chr(ord("A") + place), CORRECT if is_correct else WRONG)
