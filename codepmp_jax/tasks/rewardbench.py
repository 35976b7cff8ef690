"""RewardBench (arXiv 2403.13787): a chosen and a rejected response to each prompt."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: id, prompt, chosen, rejected, subset."""
    return given_problem(
        "rewardbench",
        row.identifier("id"),
        row.text("prompt"),
        (row.written("chosen"), row.written("rejected")),
        (True, False),
        row.text("subset"),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], row["chosen"], row["rejected"]]


TASK = Task(
    template="{prompt}",
    judge=GivenJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "RewardBench",
            columns=("prompt", "chosen", "rejected", "chosen_model", "rejected_model", "subset"),
            id="id",
            texts=_passages,
        ),
    ),
    hub="allenai/reward-bench",
    split="filtered",
)
