r"""Judges final answers in mathematics with the library math-verify.

Which part of a response is its answer, in this order:

1. the last `\boxed{...}` whose braces close;
2. what follows the last `####`, to the end of its line;
3. unless answers are numbers only, the last formula between dollars or in `\(...\)` or `\[...\]`;
4. the last number.

Where answers are numbers only (GSM8K) and that part holds no formula, its number is the first one after the last
`=`, so that `18 dollars` is 18. `$`, `%`, units in `\text{}`, commas within numbers and a dot at the end do not count.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from codepmp_jax.tasks.judges.judge import CORRECT, NO_ANSWER, WRONG, Judge, Judgement

NOT_PARSED = "answer not parsed"

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|-?\.\d+")
_FORMULA_SIGN = re.compile(r"[\\^_{}+*/]")
_WORDS = re.compile(r"[A-Za-z]{3}[A-Za-z ]*")
_MARK_UP = re.compile(r"\\text\s*\{[^{}]*\}|\\[$%,!; ]|\\ |\\(?:left|right)\b|[$%*]")


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox`) whose braces close; None where there is none."""
    for found in reversed(list(_BOX.finditer(text))):
        start = found.end()
        if text[start : start + 1] != "{":
            word = re.match(r"[^\s$.,]+", text[start:])
            content = word[0] if word and found[0][-1].isspace() else ""
        else:
            content = _braced(text, start) or ""
        if content.strip():
            return content.strip()
    return None


def _braced(text: str, start: int) -> str | None:
    """The text between the brace at `start` and its partner; None where it is not closed."""
    depth, index = 0, start
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : index]
        index += 1
    return None


def answer_text(response: str, numbers_only: bool = False) -> str | None:
    """The part of a response that is its answer, by the rule above; None where it has none."""
    text = last_box(response)
    if text is None and "####" in response:
        text = response.rpartition("####")[2].strip().partition("\n")[0].strip() or None
    if text is not None:
        return _number(text) if numbers_only else text
    if not numbers_only:
        for groups in reversed(_FORMULA.findall(response)):
            return next(group for group in groups if group).strip()
    numbers = _NUMBER.findall(response)
    return numbers[-1] if numbers else None


def _number(text: str) -> str:
    """The number of a text; the text itself where it holds a formula, or no number."""
    plain = _MARK_UP.sub(" ", text).rpartition("=")[2]
    found = _NUMBER.search(plain)
    if found is None or _FORMULA_SIGN.search(plain.replace(found[0], "", 1)):
        return text
    return found[0]


@dataclasses.dataclass(frozen=True)
class AnswerJudge(Judge):
    """Compares a response's answer with reference["answer"].

    The answer of a correct response is the reference's own normal form, so that all correct ones are equal.
    """

    numbers_only: bool = False
    """Whether every answer is a number."""
    reference = ("answer",)
    packages = ("math-verify", "sympy")

    def prepare(self) -> None:
        """Imports math-verify, which takes most of a second."""
        _is_equal(_parse("1"), _parse("\\frac{1}{2}"))

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        text = answer_text(response, self.numbers_only)
        if text is None:
            return Judgement(False, None, NO_ANSWER)
        try:
            expected, found = _parse(reference["answer"]), _parse(text)
            is_correct = _is_equal(expected, found)
        except (RecursionError, ArithmeticError):
            expected, found, is_correct = [], [], False
        if is_correct:
            return Judgement(True, _canonical(expected, reference["answer"]), CORRECT)
        is_parsed = any(not isinstance(value, str) for value in found)
        return Judgement(False, _canonical(found, text), WRONG if is_parsed else NOT_PARSED)


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> list[Any]:
    """math-verify's reading: a SymPy expression and the text that it is of; or one of them, or none."""
    import math_verify

    text = text.rstrip(". ")
    if _WORDS.fullmatch(text):  # else they are products of their letters
        text = f"\\text{{{text}}}"
    # Without the library's own alarms: the process has one deadline for everything.
    return math_verify.parse(
        f"\\boxed{{{text}}}",
        [
            math_verify.LatexExtractionConfig(boxed_match_priority=0),
            math_verify.ExprExtractionConfig(),
        ],
        parsing_timeout=None,  # pyright: ignore[reportArgumentType]
    )


def _is_equal(expected: list[Any], found: list[Any]) -> bool:
    import math_verify

    return math_verify.verify(expected, found, timeout_seconds=None)


def _canonical(parsed: list[Any], text: str) -> str:
    """SymPy's normal form of a value; of what is none, the text in lower case without spaces."""
    import sympy

    value = next((value for value in parsed if not isinstance(value, str)), None)
    if isinstance(value, sympy.Eq) and isinstance(value.lhs, sympy.Symbol):
        value = value.rhs
    if isinstance(value, sympy.Expr):
        return str(sympy.expand(sympy.nsimplify(value.doit(), rational=True)))
    return str(value) if value is not None else re.sub(r"\s+", "", text).lower()
