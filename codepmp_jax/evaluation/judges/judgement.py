"""What a judge finds."""

from __future__ import annotations

from typing import NamedTuple

CORRECT, WRONG, NO_ANSWER = "correct", "wrong answer", "no answer"


class Judgement(NamedTuple):
    """The findings of one response."""

    is_correct: bool
    answer: str | None
    """The final answer, in a form in which equal answers are equal strings."""
    verdict: str
