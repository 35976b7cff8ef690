"""Problems whose candidates are the options."""

from __future__ import annotations

from codepmp_jax.records.schema import Candidate, Problem


def letter(place: int) -> str:
    """A for the first option."""
    return chr(ord("A") + place)


def make_choice(
    task: str, identifier: str, passage: str, question: str, options: tuple[str, ...], right: int
) -> Problem:
    """The problem with the options as its candidates, judged: `right` is the place of the correct one."""
    candidates = tuple(
        Candidate(
            text, place == right, letter(place), "correct" if place == right else "wrong answer"
        )
        for place, text in enumerate(options)
    )
    return Problem(
        f"{task}/{identifier}",
        f"{passage.strip()}\n\n{question.strip()}",
        candidates,
        task=task,
        reference={"options": list(options), "answer": right},
    )
