"""RM-Bench (arXiv 2410.16184): three correct and three wrong responses, from terse to formatted."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem

STYLES = ("concise", "detailed", "detailed with markdown")


def make_problem(row: Row, number: int) -> Problem:
    """Columns: id, prompt, chosen and rejected (a response a style), domain. The candidates are the chosen, then the
    rejected."""
    chosen, rejected = row.texts("chosen"), row.texts("rejected")
    if not len(chosen) == len(rejected) == len(STYLES):
        raise ValueError(
            f"has {len(chosen)} chosen and {len(rejected)} rejected, not {len(STYLES)}"
        )
    return given_problem(
        "rm_bench",
        row.identifier("id"),
        row.text("prompt"),
        (*chosen, *rejected),
        (*[True] * len(chosen), *[False] * len(rejected)),
        row.text("domain"),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], *row["chosen"], *row["rejected"]]


TASK = Task(
    template="{prompt}",
    judge=GivenJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "RM-Bench",
            columns=("prompt", "chosen", "rejected", "domain"),
            id="id",
            texts=_passages,
        ),
    ),
    hub="THU-KEG/RM-Bench",
    split="train",
    repeats_ids=True,
)
