"""Slips in worked solutions of arithmetic: one step gets another result, and the later steps follow from that.

A worked solution is prose with equations, `6 days/week * 2 weeks/month = 12 days/month`. An equation is understood where
the numbers before its `=`, with the signs between them, give the number behind it; units, currencies and words between
them do not count. A solution with a slip is wrong in one equation only: each later one is computed again from the numbers
that changed, so that neither a wrong sum elsewhere nor a final answer that contradicts the steps gives it away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![\w,]*\d)")
_UNIT = re.compile(r"/\s*[^\W\d]+")
_RESULT = re.compile(r"=\s*[$£€]?\s*$")
_SIGNS = {"+": "+", "-": "-", "*": "*", "x": "*", "×": "*", "/": "/", "÷": "/"}
# What stands between two numbers of an equation beside the sign: words, spaces, currencies.
_SIGN = re.compile(r"[^\d=:;,.()%]*?(?<![^\W\d])([-+*x×/÷])(?![^\W\d])[^\d=:;,.()%+*×/÷-]*")
_STEPS = (1, 2, 3, 10)
_EXACT = 1e-6


def with_slips(solution: str, rng: random.Random) -> Iterator[str]:
    """Endless copies of a worked solution, each with a slip in one of the equations that are understood.

    Ends where there is none. A copy whose later steps cannot be computed again, or give a negative number or one with more
    decimals than there were, is left out: so many tries in a row end it, too.
    """
    text = _Solution(solution)
    failures = 0
    while text.equations and failures < 20 * len(text.equations):
        slip = rng.choice(list(text.equations))
        copy = text.with_slip(slip, rng.choice(_STEPS) * rng.choice((-1, 1)))
        failures = failures + 1 if copy is None else 0
        if copy is not None:
            yield copy


class _Solution:
    """A worked solution: its numbers, and which of them are results of which."""

    def __init__(self, text: str):
        self._text = text
        self._found = list(_NUMBER.finditer(text))
        self._values = [_value(found[0]) for found in self._found]
        self._is_result = [bool(_RESULT.search(text[: found.start()])) for found in self._found]
        # Number that is a result -> the first number before its `=` that counts, and the signs between those.
        self.equations: dict[int, tuple[int, list[str]]] = {}
        for place, is_result in enumerate(self._is_result):
            if is_result and (equation := self._equation(place)):
                self.equations[place] = equation

    def _equation(self, result: int) -> tuple[int, list[str]] | None:
        """The longest row of numbers before a result that gives it."""
        signs: list[str] = []
        understood = None
        for first in range(result - 2, -1, -1):
            between = self._text[self._found[first].end() : self._found[first + 1].start()]
            sign = _SIGN.fullmatch(_UNIT.sub(" ", between))
            if sign is None:
                break
            signs.insert(0, _SIGNS[sign[1]])
            found = _compute(self._values[first:result], signs)
            if found is not None and abs(found - self._values[result]) < _EXACT:
                understood = first, list(signs)
        return understood

    def with_slip(self, slip: int, step: int) -> str | None:
        """The text whose number `slip` is off by `step`, and what follows from it; None where that is not known."""
        changed: dict[float, float] = {}
        values = list(self._values)
        for place, old in enumerate(self._values):
            if place < slip:
                continue
            if place == slip:
                values[place] = old + step
            elif place in self.equations:
                first, signs = self.equations[place]
                found = _compute(values[first:place], signs)
                if found is None:
                    return None
                values[place] = found if values[first:place] != self._values[first:place] else old
            elif self._is_result[place]:
                return None
            else:
                values[place] = changed.get(old, old)
            if values[place] != old:
                changed[old] = values[place]
        parts, end = [], 0
        for found, old, new in zip(self._found, self._values, values, strict=True):
            written = found[0] if new == old else _written(new, found[0])
            if written is None:
                return None
            parts += [self._text[end : found.start()], written]
            end = found.end()
        return "".join([*parts, self._text[end:]])


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _compute(values: list[float], signs: list[str]) -> float | None:
    """What numbers with signs between them give, products first; None where that is not a number."""
    terms = [values[0]]
    for sign, value in zip(signs, values[1:], strict=True):
        if sign == "/" and value == 0:
            return None
        if sign in "+-":
            terms.append(value if sign == "+" else -value)
        else:
            terms[-1] = terms[-1] * value if sign == "*" else terms[-1] / value
    return sum(terms)


def _written(value: float, like: str) -> str | None:
    """A number as another one is written; None where it is not positive, or needs more decimals."""
    _, _, decimals = like.partition(".")
    if value <= 0 or abs(round(value, len(decimals)) - value) > _EXACT:
        return None
    return f"{value:{',' if ',' in like else ''}.{len(decimals)}f}"
