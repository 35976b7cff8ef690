r"""Judges final answers in mathematics.

The reasoning in `<think>` and the like is taken away. Then the first of these patterns that finds something gives the
answer:

| pattern | confidence | what it reads |
|---|---|---|
| box | high | the last `\boxed{...}` whose braces close; boxes that only `and`, `or` or a comma part are one list |
| tag | high | the last `<answer>...</answer>` |
| json | high | the last `"answer": ...` |
| mark | high | what follows `####` on its line, if it begins with a value or ends the reply; other such lines are headings |
| named | high | what the last `the answer is`, `Answer:` or `答案是` states, on its line or the next |
| formula | medium | the last formula in `$...$`, `$$...$$`, `\(...\)`, `\[...\]`; not where answers are numbers |
| bold | medium | a bold number in the last line, where answers are numbers |
| line | medium | the last line, if it holds no words, or the whole reply of at most three words; not where answers are numbers |
| tail | medium | the formula in plain characters that the last line ends with, before a unit or not; not where answers are numbers |
| number | low | the last number |

Where answers are numbers (GSM8K), `numbers.number_in` reads the number of that part; else `formulas` reads it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from codepmp_jax.tasks.judges import formulas
from codepmp_jax.tasks.judges.judge import CORRECT, NO_ANSWER, WRONG, Judge, Judgement
from codepmp_jax.tasks.judges.notation import clean, depth, elements
from codepmp_jax.tasks.judges.numbers import asked_scales, last_number, number_in, numbers
from codepmp_jax.tasks.judges.replies import JOINT, last_boxes, plain_characters, without_reasoning
from codepmp_jax.tasks.judges.units import without_known_unit

NOT_PARSED = "answer not parsed"
# Brackets within brackets beyond which nothing is compared: the parser descends by calls.
_DEEPEST = 50
# Statements and marks that are looked at: a reply may repeat one for ever.
_LAST = 200

_TAG = re.compile(r"<(?:final_?)?answer>(.*?)</(?:final_?)?answer>", re.DOTALL | re.IGNORECASE)
_JSON = re.compile(
    r"[\"'](?:final_?|correct_?)?(?:answer|result|答案)[\"']\s*:\s*(?:\"((?:\\.|[^\"\\])*)\"|'([^']*)'|(-?[\d.,/]*\d))",
    re.IGNORECASE,
)
_MARK = re.compile(r"(?<!#)####(?!#)[ \t]*(?:\n\s*)?([^\n]*)")
_VALUE_FIRST = re.compile(
    r"[-+(\\\[{~*]*\s*(?:US)?[$€£]?\s*[-+]?\s*(?:\.?\d|\\)|\$|[A-Za-z]\s*(?:=|[\^+*/-]\s*\w)"
)
_NUMBERED_HEADING = re.compile(
    r"\d+\s*[.):]\s+(?=\D)|\d+(?:st|nd|rd|th)\b|(?:step|case|part|method)\b", re.IGNORECASE
)
_ANSWER_NAMED = re.compile(
    r"(?<!wrong )(?<!incorrect )\b(?:answers?|ans)\b\.?(?P<gap>[^\n.:=!?$]{0,60}?)"
    r"(?:\b(?:is|are|equals?)\b|\b(?:would|should|must|will|can only)\b(?:\s+\w+){0,2}?\s+be\b|[:=]|[*_ ]*\n|→|->|(?<=ns\.))"
    r"|答案(?:应该|应|就)?(?:是|为|[:=])?",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:[\s*_#>:`]|(?:therefore|thus|then|hence|indeed|simply|just|exactly|clearly|now|that|equal to|given by|found to be)\b,?)*",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\s*(?:n't|not|never)\b", re.IGNORECASE)
_STATEMENT_END = re.compile(
    r"(?<=[^\s.])[.!?](?=\s|$|[*_\"'])|;\s|,?\s+(?:because|since|so|as|which|where|but|not|if|when|i\.e\.|I hope)\b|,\s+not\b"
)
_FORMULA = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$((?:\\.|[^$\\])+?)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_NO_FORMULA = re.compile(
    r"\s*(?:\\(?:blacksquare|square|Box|qed|checkmark|quad)\s*)*"
)  # an end of proof
_WORD = re.compile(
    r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|inf|abs|and)\b)[A-Za-z]{3,}|[\u4e00-\u9fff]"
)
# The formula in plain characters that a line ends with, after a word that states it.
_TAIL = re.compile(
    r"\b(?:is|are|be|get|gets|obtain|have|find|give|gives|yields?|equals?|point|value|to|answer)[\s:]+"
    r"((?:(?:sin|cos|tan|log|ln|exp|sqrt|pi|and)\b|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[^A-Za-z])+)$"
)
_LAST_SIDE = re.compile(r"=\s*((?:(?:sin|cos|tan|log|ln|exp|sqrt|pi)\b|[^A-Za-z=])+)$")
_LIMITED = re.compile(
    r"\b(?:at least|at most|more|less|greater|fewer|over|under|not|except|up to|between|half|twice|double|times|"
    r"squared|cubed|root|minus|plus|choose|factorial|in|out of|to|or|and|mod|modulo|base)\b|[:<>≤≥≠^/|=]|\\(?!text|,|;|\$|%)",
    re.IGNORECASE,
)


class Pattern(NamedTuple):
    """A way in which replies give their answer."""

    name: str
    confidence: str
    """`high` where the reply marks the answer as such, `medium` where its place suggests it, `low` where it is a guess."""
    find: Callable[[str, bool], str | None]
    """(reply, whether answers are numbers) -> the part that is the answer; None where the pattern does not apply."""


def _boxed(reply: str, numbers_only: bool) -> str | None:
    return ", ".join(last_boxes(reply)) or None


def _tagged(reply: str, numbers_only: bool) -> str | None:
    found = [text.strip() for text in _TAG.findall(reply) if text.strip()]
    return _formula_or_all(found[-1]) if found else None


def _in_json(reply: str, numbers_only: bool) -> str | None:
    found = [next(filter(None, groups), "").strip() for groups in _JSON.findall(reply)]
    found = [text.replace("\\\\", "\\") for text in found if text]
    return found[-1] if found else None


def _marked(reply: str, numbers_only: bool) -> str | None:
    for mark in reversed(list(_MARK.finditer(reply))[-_LAST:]):
        text, rest = mark[1].strip().strip("*").strip(), reply[mark.end() :]
        if not text or (
            _NUMBERED_HEADING.match(text) and (rest.strip() or text[0] not in "0123456789")
        ):
            continue
        if rest.strip() and (not _VALUE_FIRST.match(text) or _named(rest, numbers_only)):
            continue
        if _WORD.search(text) and (named := _named(text, numbers_only)):
            text = named
        if not numbers_only or re.search(r"\d|\\", text):
            return text
    return None


def _named(reply: str, numbers_only: bool) -> str | None:
    for found in reversed(list(_ANSWER_NAMED.finditer(reply))[-_LAST:]):
        rest = reply[found.end() :]
        if _NEGATED.search(found["gap"] or "") or _NEGATED.match(rest):
            but = re.match(r"[^\n.]*?\bbut\s+(?:rather\s+)?", rest)
            if but is None:
                continue
            rest = rest[but.end() :]
        text = _statement(rest, numbers_only)
        if text is not None:
            return text
    return None


def _statement(rest: str, numbers_only: bool) -> str | None:
    """What a sentence begins with that states the answer; None where it states none."""
    filler = _FILLER.match(rest)
    rest = rest[filler.end() :] if filler else rest
    if _FORMULA.match(rest) and (formula := _joined_formulas(rest, first=True)):
        return formula
    line = rest.partition("\n")[0]
    end = _STATEMENT_END.search(line)
    text = (line[: end.start()] if end else line).strip().strip("*_`").strip()
    if numbers_only:
        return text if re.search(r"\d", text) else None
    if formula := _joined_formulas(text):
        return formula
    words = len(_WORD.findall(text))
    return text if text and (words <= 3 or (words <= 12 and re.search(r"\d", text))) else None


def _formula_or_all(text: str) -> str:
    return _joined_formulas(text) or text


def _formulas(text: str) -> list[re.Match[str]]:
    """The formulas of a text. Dollars that words stand between are prices."""
    found, position = [], 0
    while (match := _FORMULA.search(text, position)) is not None:
        content = next(filter(None, match.groups()))
        if _NO_FORMULA.fullmatch(content):
            position = match.end()
            continue
        is_tight = content == content.strip()
        words = re.sub(r"\\[a-zA-Z]+\s*(?:\{[A-Za-z ,.]*\})?", "", content)
        if (
            match[2]
            and (not is_tight or re.match(r"\d+(?:\.\d+)?\s+[a-z]", content))
            and _WORD.search(words)
        ):
            position = match.start() + 1
            continue
        found.append(match)
        position = match.end()
    return found


def _joined_formulas(text: str, first: bool = False) -> str | None:
    """The last formula of a text, or its first, with those that only `and`, `or` or a comma part from it."""
    found = _formulas(text)
    if not found:
        return None
    groups: list[list[re.Match[str]]] = []
    for match in found:
        if (
            groups
            and not (match[1] or match[4])
            and JOINT.fullmatch(text[groups[-1][-1].end() : match.start()])
        ):
            groups[-1].append(match)
        else:
            groups.append([match])
    group = groups[0] if first else groups[-1]
    return ", ".join(next(filter(None, match.groups())).strip() for match in group)


def _formula(reply: str, numbers_only: bool) -> str | None:
    return None if numbers_only else _joined_formulas(reply)


def _lines(reply: str) -> list[str]:
    return [line.strip() for line in reply.splitlines() if line.strip()]


def _bold(reply: str, numbers_only: bool) -> str | None:
    if not numbers_only or not (lines := _lines(reply)):
        return None
    found = [
        text
        for text in re.findall(r"\*\*(.+?)\*\*|__(.+?)__", lines[-1])
        for text in text
        if text and len(text.split()) <= 4 and not text.rstrip().endswith(":") and number_in(text)
    ]
    return found[-1] if found else None


def _line(reply: str, numbers_only: bool) -> str | None:
    if numbers_only or not (lines := _lines(reply)):
        return None
    line = lines[-1].strip("*`> ")
    if not line or line.count("{") != line.count("}"):
        return None
    if 0 < len(line) <= 200 and not _WORD.search(
        re.sub(r"\\[a-zA-Z]+\s*(?:\{[A-Za-z ,.]*\})?", "", line)
    ):
        return line if re.search(r"[A-Za-z\d]", line) else None
    return (
        line
        if len(lines) == 1
        and len(line.split()) <= 3
        and not re.search(r"\d", line)
        and line.split()[0] not in ("I", "No", "no")
        else None
    )


def _tail(reply: str, numbers_only: bool) -> str | None:
    if numbers_only or not (lines := _lines(reply)):
        return None
    line = without_known_unit(lines[-1].rstrip("*`. "))
    found = _TAIL.search(line) or _LAST_SIDE.search(line)
    return found[1] if found and re.search(r"[-+*/^=(,√π]", found[1]) else None


def _number(reply: str, numbers_only: bool) -> str | None:
    return last_number(reply)


PATTERNS = (
    Pattern("box", "high", _boxed),
    Pattern("tag", "high", _tagged),
    Pattern("json", "high", _in_json),
    Pattern("mark", "high", _marked),
    Pattern("named", "high", _named),
    Pattern("formula", "medium", _formula),
    Pattern("bold", "medium", _bold),
    Pattern("line", "medium", _line),
    Pattern("tail", "medium", _tail),
    Pattern("number", "low", _number),
)


def find_answer(response: str, numbers_only: bool = False) -> tuple[str, str] | None:
    """(the part of a response that is its answer, name of the pattern that found it); None where there is none."""
    reply = plain_characters(without_reasoning(response))
    for pattern in PATTERNS:
        text = pattern.find(reply, numbers_only)
        if text is not None and text.strip():
            return text.strip(), pattern.name
    return None


def reference_text(value: Any) -> str:
    """A reference's answer as a text; of a list of answers, all of them. Raises ValueError for other types."""
    if isinstance(value, list) and value:
        return ", ".join(reference_text(part) for part in value)
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int | float)
        or not str(value).strip()
    ):
        raise ValueError(f"answer is no text, number or list of them but {value!r}")
    return str(value)


@dataclasses.dataclass(frozen=True)
class AnswerJudge(Judge):
    """Compares a response's answer with reference["answer"]: a text, a number, or a list of answers.

    The answer of a correct response is the reference's own normal form, so that all correct ones are equal.
    """

    numbers_only: bool = False
    """Whether every answer is a number."""
    reference = ("answer",)
    packages = ("latex2sympy2_extended", "math-verify", "sympy")

    def check_reference(self, reference: dict[str, Any]) -> None:
        """As in Judge."""
        reference_text(reference["answer"])

    def prepare(self) -> None:
        """Imports math-verify, which takes most of a second."""
        import math_verify  # noqa: F401

        formulas.equal("1", "\\frac{1}{2}")

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        found = find_answer(response, self.numbers_only)
        if found is None:
            return Judgement(False, None, NO_ANSWER)
        text, pattern = found
        expected = plain_characters(reference_text(reference["answer"]))
        asked = asked_scales(prompt)
        if self.numbers_only:
            number, right = number_in(text, asked), number_in(expected)
            if number is not None and right is not None:
                is_correct = number == right
                return Judgement(is_correct, number, CORRECT if is_correct else WRONG)
            text = number or text
        return _compare(clean(expected), clean(text), asked, pattern == "box")


def _compare(expected: str, text: str, asked: Iterable[str], is_box: bool) -> Judgement:
    """The judgement of an answer; what the library cannot compare is wrong."""
    if max(depth(expected), depth(text)) > _DEEPEST:
        return Judgement(False, formulas.key(text), NOT_PARSED)
    try:
        is_correct = (
            formulas.equal(expected, text)
            or _is_number_in_words(expected, text, frozenset(asked))
            or (
                is_box
                and len(parts := elements(text)) > 1
                and all(formulas.equal(expected, part) for part in parts)
            )
        )
    except MemoryError:
        raise
    except Exception:  # SymPy's own faults are of many types
        return Judgement(False, formulas.key(text), NOT_PARSED)
    if is_correct:
        return Judgement(True, formulas.normal_form(expected), CORRECT)
    verdict = WRONG if formulas.is_readable(text) else NOT_PARSED
    return Judgement(False, formulas.normal_form(text), verdict)


def _is_number_in_words(expected: str, text: str, asked: frozenset[str]) -> bool:
    """Whether a text is words around the one number that is expected: `Ada sold 72 pens`."""
    if not _WORD.search(text) or _LIMITED.search(text) or len(list(numbers(text))) != 1:
        return False
    number = number_in(text, asked)
    return number is not None and formulas.equal(expected, number)
