"""Slips: one step is wrong, and the later ones follow from it."""

from __future__ import annotations

import itertools
import operator
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.tasks.common.slips import with_slips

_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")


def wrong_equations(solution: str) -> list[int]:
    """Places of the equations that do not hold."""
    return [
        place
        for place, (one, sign, other, result) in enumerate(_EQUATION.findall(solution))
        if _OPERATORS[sign](int(one), int(other)) != int(result)
    ]


@st.composite
def solutions(draw) -> str:
    """Steps that each take the result of an earlier one, or numbers of their own."""
    results: list[int] = []
    lines = []
    for step in range(draw(st.integers(1, 5))):
        one = draw(st.sampled_from(results) if results and step % 2 else st.integers(50, 99))
        sign, other = draw(st.sampled_from("+-*")), draw(st.integers(2, 9))
        result = _OPERATORS[sign](one, other)
        results.append(result)
        lines.append(f"That makes {one} {sign} {other} = {result} apples.")
    return "\n".join([*lines, f"#### {results[-1]}"])


@given(solutions(), st.integers(0, 10))
def test_one_equation_is_wrong_and_the_last_result_is_the_answer(solution, seed):
    assert wrong_equations(solution) == []
    copies = list(itertools.islice(with_slips(solution, random.Random(seed)), 5))
    assert len(copies) == 5
    for copy in copies:
        assert len(wrong_equations(copy)) == 1
        before, after = (text.rpartition("#### ")[2] for text in (solution, copy))
        # Where the last result changed, so did the answer; a number that two steps share may stand for either.
        if _EQUATION.findall(copy)[-1][3] != before:
            assert after != before
        # Words and the places of numbers are the same.
        assert re.sub(r"\d+", "", copy) == re.sub(r"\d+", "", solution)


@pytest.mark.parametrize(
    ("solution", "copies"),
    [
        (
            "6 days/week * 2 weeks/month = 12 days/month\nSo £195/day * 12 days/month = £2340/month\n#### 2340",
            "6 days/week * 2 weeks/month = 13 days/month\nSo £195/day * 13 days/month = £2535/month\n#### 2535",
        ),
        (
            "The fee is $400,000 x 8/100 = $32,000.\nIn all $400,000 + $32,000 = $432,000.\n#### 432000",
            "The fee is $400,000 x 8/100 = $32,010.\nIn all $400,000 + $32,010 = $432,010.\n#### 432010",
        ),
    ],
    ids=["units", "thousands"],
)
def test_later_steps_are_computed_again(solution, copies):
    assert copies in set(itertools.islice(with_slips(solution, random.Random(0)), 200))


@pytest.mark.parametrize(
    "solution",
    [
        "He had three and got four, so he has seven.\n#### 7",
        # The second equation is not understood, so what follows from a slip in the first is not known.
        "5 + 4 = 9\nHalf of them, rounded = 4\n#### 4",
        "We know that 2x+140=198, so x=29\n#### 29",
    ],
)
def test_what_is_not_understood_gets_no_slip(solution):
    assert list(with_slips(solution, random.Random(0))) == []
