"""GSM8K (arXiv 2110.14168): grade school word problems whose answer is a number."""

from __future__ import annotations

import re
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import BOXED
from codepmp_jax.tasks.judges.answers import AnswerJudge


def make_problem(row: Row, number: int) -> Problem:
    """Columns: question, and answer: the worked solution that ends with `#### 42`."""
    question = row.text("question")
    _, mark, answer = row.text("answer").rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer.lstrip("-").replace(".", "", 1).isdecimal():
        raise ValueError("answer does not end with #### and a number")
    return Problem(f"gsm8k/{number}", question, task="gsm8k", reference={"answer": answer})


def _passages(row: dict[str, Any]) -> list[str]:
    # With and without the calculator's notes, <<48/2=24>>.
    return [row["question"], row["answer"], re.sub(r"<<.*?>>", "", row["answer"])]


TASK = Task(
    template=BOXED,
    judge=AnswerJudge(numbers_only=True),
    make_problem=make_problem,
    passages=(Passages("GSM8K", columns=("question", "answer"), id="id", texts=_passages),),
    hub="openai/gsm8k",
    configurations=("main",),
)
