"""ReClor (arXiv 2002.04326): logical reasoning over a passage; the candidates are the four options.

Best-of-4 over them is the accuracy of the choice. The answers of the test split are not public.
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.options import make_choice
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import CHOICE
from codepmp_jax.tasks.judges.choices import ChoiceJudge


def make_problem(row: Row, number: int) -> Problem:
    """Columns: context, question, answers (the options), label (the index of the right one), id_string."""
    options = row.texts("answers")
    return make_choice(
        "reclor",
        row.identifier("id_string"),
        row.text("context"),
        row.text("question"),
        options,
        row.index("label", len(options)),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["context"], row["question"], *row["answers"]]


TASK = Task(
    template=CHOICE,
    judge=ChoiceJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "ReClor",
            columns=("context", "question", "answers"),
            id="id_string",
            texts=_passages,
        ),
    ),
    hub="tasksource/reclor",
    split="validation",
)
