"""Responses that a benchmark's authors have judged, as reward model benchmarks publish them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.tasks.judges.judge import CORRECT, WRONG, Judge, Judgement


def digest(response: str) -> str:
    """What a response is recognised by."""
    return hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class GivenJudge(Judge):
    """A response is correct if it is one of those that the authors call so."""

    reference = ("correct",)

    def check_reference(self, reference: dict[str, Any]) -> None:
        """Raises ValueError where `correct` is no list of digests."""
        correct = reference["correct"]
        if not isinstance(correct, list) or not all(isinstance(entry, str) for entry in correct):
            raise ValueError(f"correct is no list of texts but {correct!r:.80}")

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """Judges a response by its digest."""
        is_correct = digest(response) in reference["correct"]
        return Judgement(is_correct, None, CORRECT if is_correct else WRONG)


def given_problem(
    task: str,
    identifier: str,
    prompt: str,
    responses: Sequence[str],
    is_correct: Sequence[bool],
    subset: str = "",
    **reference: Any,
) -> Problem:
    """A problem whose candidates are the authors' responses, judged by them."""
    candidates = tuple(
        Candidate(response, is_correct=right, verdict=CORRECT if right else WRONG)
        for response, right in zip(responses, is_correct, strict=True)
    )
    correct = sorted({digest(c.response) for c in candidates if c.is_correct})
    return Problem(
        f"{task}/{identifier}",
        prompt,
        candidates,
        task=task,
        subset=subset,
        reference={"correct": correct, **reference},
    )
