r"""Judges which option a response takes.

In this order:

1. the response is an option's text, or its letter alone: `B`, `(b)`, `B.`, `**B**`;
2. the last `\boxed{...}` is one of these;
3. what follows the last `answer`, `option` or `choice`, and at most `is` or a colon, is an option's text, or a
   letter: `The answer is (B)`, `Answer: b.`, `the correct option is B because`;
4. the last line that is not empty begins with a letter: `B. Some young ...`, `(B) Some ...`;
5. the last capital letter in brackets: `(B)`.

A letter that is no option's is skipped, and so is `A` before a word, which is an article, unless that word begins a
reason (`A because`).
"""

from __future__ import annotations

import re
from typing import Any

from codepmp_jax.tasks.judges.answers import last_box
from codepmp_jax.tasks.judges.judge import CORRECT, NO_ANSWER, WRONG, Judge, Judgement

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
    """The index of the option that a response takes, by the rule above; None where it takes none."""
    texts = {_plain(text): index for index, text in enumerate(options)}

    def whole(text: str) -> int | None:
        alone = _ALONE.fullmatch(text)
        return texts.get(_plain(text), _index(alone, options))

    found = whole(response)
    if found is not None:
        return found
    box = last_box(response)
    if box is not None and (found := whole(_LATEX_TEXT.sub(r"\1", box))) is not None:
        return found
    for named in reversed(list(_NAMED.finditer(response))):
        found = texts.get(_plain(named["rest"]), _index(_LETTER.match(named["rest"]), options))
        if found is not None:
            return found
    lines = [line for line in response.splitlines() if line.strip()]
    found = _index(_LINE_START.match(lines[-1]), options) if lines else None
    if found is not None:
        return found
    bracketed = [_index(match, options) for match in _BRACKETED.finditer(response)]
    return next((index for index in reversed(bracketed) if index is not None), None)


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .*").lower()


def _index(found: re.Match[str] | None, options: list[str]) -> int | None:
    """The index of the option whose letter a pattern found; None where there is no such option."""
    if found is None:
        return None
    name = next(group for group in found.groups() if group)
    index = ord(name.upper()) - ord("A")
    return index if index < len(options) else None


class ChoiceJudge(Judge):
    """Compares the option that a response takes with reference["answer"], the index of the right one."""

    reference = ("options", "answer")

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        index = chosen_option(response, reference["options"])
        if index is None:
            return Judgement(False, None, NO_ANSWER)
        is_correct = index == reference["answer"]
        return Judgement(is_correct, chr(ord("A") + index), CORRECT if is_correct else WRONG)
