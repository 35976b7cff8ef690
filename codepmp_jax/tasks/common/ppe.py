"""PPE's sets of correctness (arXiv 2410.14872): 32 responses of one model to each prompt, with their scores.

The columns are those that the cards of the sets list (lmarena-ai/PPE-...-Best-of-K): `scores` are booleans,
`sampled_conflict_pairs` two places from 0, where the responses are numbered from 1.
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem


def _responses(row: dict[str, Any]) -> list[str]:
    """The texts under response_1, response_2, ..., as many as there are."""
    found: list[str] = []
    while isinstance(text := row.get(f"response_{len(found) + 1}"), str):
        found.append(text)
    return found


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], *_responses(row)]


PASSAGES = (
    Passages(
        "PPE correctness",
        columns=("prompt", "scores", "sampled_conflict_pairs", "response_1"),
        id="question_id",
        texts=_passages,
    ),
)


def best_of_k(name: str, hub: str) -> Task:
    """The task of one of the sets."""

    def make_problem(row: Row, number: int) -> Problem:
        """Columns: question_id, prompt, response_1 to response_K, scores, sampled_conflict_pairs, model_name."""
        responses = _responses(row.values)
        scores, pairs = row.values.get("scores"), row.values.get("sampled_conflict_pairs")
        if not responses:
            raise ValueError("lacks response_1")
        if not isinstance(scores, list) or len(scores) != len(responses):
            raise ValueError(f"scores is no list of {len(responses)} but {scores!r:.80}")
        places = set(range(len(responses)))
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and set(pair) <= places for pair in pairs
        ):
            raise ValueError(f"sampled_conflict_pairs is no list of two places but {pairs!r:.80}")
        model = row.text("model_name") if row.has("model_name") else ""
        return given_problem(
            name,
            "/".join(filter(None, (model, row.identifier("question_id")))),
            row.text("prompt"),
            responses,
            [bool(score) for score in scores],
            model,
            pairs=pairs,
        )

    return Task(
        template="{prompt}",
        judge=GivenJudge(),
        make_problem=make_problem,
        passages=PASSAGES,
        hub=hub,
        split="train",
        repeats_ids=True,
    )
