"""JudgeBench (arXiv 2410.12784): two responses of one model to hard questions, of which one is right."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem

_LABELS = {"A>B": (True, False), "B>A": (False, True)}


def make_problem(row: Row, number: int) -> Problem:
    """Columns: pair_id, question, response_A, response_B, label (`A>B` or `B>A`), source."""
    label = row.text("label")
    if label not in _LABELS:
        raise ValueError(f"label is neither A>B nor B>A but {label!r}")
    return given_problem(
        "judgebench",
        row.identifier("pair_id"),
        row.text("question"),
        (row.text("response_A"), row.text("response_B")),
        _LABELS[label],
        row.text("source"),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["question"], row["response_A"], row["response_B"]]


TASK = Task(
    template="{prompt}",
    judge=GivenJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "JudgeBench",
            columns=("question", "response_A", "response_B", "label"),
            id="pair_id",
            texts=_passages,
        ),
    ),
    hub="ScalerLab/JudgeBench",
    split="gpt",
)
