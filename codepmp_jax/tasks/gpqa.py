"""GPQA (arXiv 2311.12022), its diamond set: graduate questions of four options, which are the candidates.

The authors publish the right answer apart from the wrong ones: a hash of the record's id puts the options in order. The
columns are those of gpqa_diamond.csv in Idavidrein/gpqa; those before and after the question's revision are not read.
"""

from __future__ import annotations

import hashlib
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.options import make_choice
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.common.templates import CHOICE
from codepmp_jax.tasks.judges.choices import ChoiceJudge

_RIGHT = "Correct Answer"
_COLUMNS = (_RIGHT, *(f"Incorrect Answer {number}" for number in (1, 2, 3)))


def make_problem(row: Row, number: int) -> Problem:
    """Columns: Record ID, Question, Correct Answer, Incorrect Answer 1 to 3."""
    identifier = row.identifier("Record ID")

    def place(column: str) -> bytes:
        return hashlib.sha256(f"{identifier}/{column}".encode()).digest()

    columns = sorted(_COLUMNS, key=place)
    options = tuple(row.text(column).strip() for column in columns)
    return make_choice("gpqa", identifier, "", row.text("Question"), options, columns.index(_RIGHT))


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["Question"], *(row[column] for column in _COLUMNS)]


TASK = Task(
    template=CHOICE,
    judge=ChoiceJudge(),
    make_problem=make_problem,
    passages=(Passages("GPQA", columns=("Question", *_COLUMNS), id="Record ID", texts=_passages),),
    hub="Idavidrein/gpqa",
    configurations=("gpqa_diamond",),
    split="train",
)
