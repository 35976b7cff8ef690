"""What a judge is, and what it finds."""

from __future__ import annotations

from typing import Any, NamedTuple

CORRECT, WRONG, NO_ANSWER = "correct", "wrong answer", "no answer"


class Judgement(NamedTuple):
    """The findings of one response."""

    is_correct: bool
    answer: str | None
    """The final answer, in a form in which equal answers are equal strings."""
    verdict: str


class Judge:
    """Decides whether a response solves its problem: base of the judges."""

    reference: tuple[str, ...] = ()
    """Entries of Problem.reference that it needs."""
    packages: tuple[str, ...] = ()
    """Packages that its judgements depend on, by their names on PyPI."""

    def check_reference(self, reference: dict[str, Any]) -> None:
        """Raises ValueError that says which entry of a reference cannot be judged by, and why."""

    def prepare(self) -> None:
        """Imports what takes long, before a response is waiting."""

    def deadline(self, reference: dict[str, Any], timeout: float) -> float:
        """Seconds after which the process that judges a response is killed; more than `timeout` where the judge keeps that
        itself."""
        return timeout

    def syntax(self, prompt: str, reference: dict[str, Any], response: str) -> str:
        """The syntax tree of the program that `judge` would run: equal for programs that differ only in layout and comments.
        Empty where a response is no program, or none that Python can read."""
        return ""

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """Judges a response to the problem of `prompt` and `reference`; `timeout` is in seconds."""
        raise NotImplementedError
