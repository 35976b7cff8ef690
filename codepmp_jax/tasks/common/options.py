"""Problems whose candidates are the options."""

from __future__ import annotations

from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.tasks.judges.judge import CORRECT, WRONG


def letter(index: int) -> str:
    """A for the first option."""
    return chr(ord("A") + index)


def make_choice(
    task: str, identifier: str, passage: str, question: str, options: tuple[str, ...], right: int
) -> Problem:
    """The problem with the options as its judged candidates: `right` is the index of the correct one."""
    candidates = tuple(
        Candidate(
            text,
            is_correct=index == right,
            answer=letter(index),
            verdict=CORRECT if index == right else WRONG,
        )
        for index, text in enumerate(options)
    )
    return Problem(
        f"{task}/{identifier}",
        f"{passage.strip()}\n\n{question.strip()}".strip(),
        candidates,
        task=task,
        reference={"options": list(options), "answer": right},
    )
