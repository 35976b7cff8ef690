"""MATH (arXiv 2103.03874): competition problems with an answer in LaTeX."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import BOXED
from codepmp_jax.tasks.judges.answers import AnswerJudge
from codepmp_jax.tasks.judges.replies import last_box


def make_problem(row: Row, number: int, task: str = "math") -> Problem:
    """Columns: problem, level (`Level 5`, or 5), and solution with the answer in a box, or answer; perhaps unique_id."""
    problem = row.text("problem")
    answer = row.text("answer") if row.has("answer") else last_box(row.text("solution"))
    if not answer:
        raise ValueError("solution has no \\boxed{...}, and there is no answer")
    level = row.identifier("level").removeprefix("Level ")
    identifier = row.identifier("unique_id") if row.has("unique_id") else number
    return Problem(
        f"{task}/{identifier}",
        problem,
        task=task,
        subset=f"level {level}",
        reference={"answer": answer},
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["problem"], row["solution"]]


TASK = Task(
    template=BOXED,
    judge=AnswerJudge(),
    make_problem=make_problem,
    passages=(Passages("MATH", columns=("problem", "solution"), id="unique_id", texts=_passages),),
    hub="EleutherAI/hendrycks_math",
    configurations=(
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    ),
)
