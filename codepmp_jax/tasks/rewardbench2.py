"""RewardBench 2 (arXiv 2506.01937): one correct response among four, or several among more (Ties)."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: id (of Ties `ref:NUMBER` or `tied:NUMBER`), prompt, chosen and rejected (lists), subset."""
    chosen, rejected = row.texts("chosen"), row.texts("rejected")
    subset, name = row.text("subset"), row.identifier("id")
    kind, _, question = name.partition(":")
    if subset == "Ties" and (kind not in ("ref", "tied") or not question.isdecimal()):
        raise ValueError(f"id of a row of Ties is neither ref:NUMBER nor tied:NUMBER but {name!r}")
    return given_problem(
        "rewardbench2",
        f"{subset}/{name}",
        row.text("prompt"),
        (*chosen, *rejected),
        (*[True] * len(chosen), *[False] * len(rejected)),
        subset,
        **({"kind": kind, "question": question} if subset == "Ties" else {}),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], *row["chosen"], *row["rejected"]]


TASK = Task(
    template="{prompt}",
    judge=GivenJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "RewardBench 2",
            columns=("prompt", "chosen", "rejected", "num_correct", "subset"),
            id="id",
            texts=_passages,
        ),
    ),
    hub="allenai/reward-bench-2",
    repeats_ids=True,
)
