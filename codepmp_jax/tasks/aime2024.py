"""AIME 2024: thirty problems of a competition, whose answers are whole numbers up to 999."""

from __future__ import annotations

import functools
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import BOXED
from codepmp_jax.tasks.judges.answers import AnswerJudge


def make_problem(row: Row, number: int, task: str) -> Problem:
    """Columns: id, problem, answer."""
    answer = row.identifier("answer").strip().lstrip("0") or "0"
    if not answer.isdecimal() or int(answer) > 999:
        raise ValueError(f"answer is no whole number up to 999 but {answer!r}")
    return Problem(
        f"{task}/{row.identifier('id')}",
        row.text("problem"),
        task=task,
        reference={"answer": answer},
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["problem"], *([row["solution"]] if row.get("solution") else [])]


TASK = Task(
    template=BOXED,
    judge=AnswerJudge(numbers_only=True),
    make_problem=functools.partial(make_problem, task="aime2024"),
    passages=(Passages("AIME", columns=("problem", "answer", "id"), id="id", texts=_passages),),
    hub="HuggingFaceH4/aime_2024",
    split="train",
)
