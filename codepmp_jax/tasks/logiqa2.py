"""LogiQA 2.0 (DOI 10.1109/TASLP.2023.3293046): logical reasoning over a text; the candidates are the options."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.options import make_choice
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import CHOICE
from codepmp_jax.tasks.judges.choices import ChoiceJudge


def make_problem(row: Row, number: int) -> Problem:
    """Columns: text, question, options, answer (the index of the right one), id."""
    options = row.texts("options")
    return make_choice(
        "logiqa2",
        row.identifier("id"),
        row.text("text") if row.has("text") else "",
        row.text("question"),
        options,
        row.index("answer", len(options)),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["text"], row["question"], *row["options"]]


TASK = Task(
    template=CHOICE,
    judge=ChoiceJudge(),
    make_problem=make_problem,
    passages=(
        Passages("LogiQA", columns=("text", "question", "options"), id="id", texts=_passages),
    ),
    repeats_ids=True,
    url="https://raw.githubusercontent.com/csitfun/LogiQA2.0/main/logiqa/DATA/LOGIQA/test.txt",
)
