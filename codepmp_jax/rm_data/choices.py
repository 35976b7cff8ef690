"""Problems with judged candidates, and tasks whose candidates are options, as entries."""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.records.schema import Problem
from codepmp_jax.rm_data.entries import (
    CORRECTNESS,
    RIGHT,
    WRONG,
    Answer,
    Entry,
    Reader,
    Reading,
    not_read,
)
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.common.row import Row

NOT_JUDGED = "candidate is not judged"


def choices_of(task: str, columns: tuple[str, ...]) -> Reader:
    """The reader of a task's published rows, of which it reads these columns."""
    make_problem = find_task(task, "source").make_problem
    assert make_problem is not None

    def read(row: dict[str, Any], number: int) -> Reading:
        try:
            problem = make_problem(Row(row), number - 1)
        except ValueError as error:
            raise MalformedRow(f"row is none of {task}", str(error)) from error
        return entry_of(problem, tuple(not_read(row, *columns)))

    return read


def entry_of(problem: Problem, columns_not_read: tuple[str, ...]) -> Reading:
    """The judged candidates of a problem; others are left out and counted."""
    answers, reading = [], Reading(None, list(columns_not_read))
    for index, candidate in enumerate(problem.candidates):
        if candidate.is_correct is None:
            reading.dropped.append(NOT_JUDGED)
            continue
        if not isinstance(candidate.is_correct, bool):
            raise MalformedRow("is_correct is neither true nor false", repr(candidate.is_correct))
        facts: dict[str, Any] = {"candidate": index}
        grade = RIGHT if candidate.is_correct else WRONG
        answers.append(Answer(candidate.response, grade, facts))
    if answers:
        reading.entry = Entry(problem.prompt, tuple(answers), CORRECTNESS, problem.subset)
    return reading
