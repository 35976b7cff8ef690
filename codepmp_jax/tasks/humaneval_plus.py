"""HumanEval+ (arXiv 2305.01210): HumanEval with eighty times as many tests.

As on the hub, with tests in Python, or as EvalPlus' own file, with inputs.
"""

from __future__ import annotations

import dataclasses

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks import humaneval
from codepmp_jax.tasks.common import evalplus
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Task


def make_problem(row: Row, number: int) -> Problem:
    """Columns: those of HumanEval, with base_input, plus_input and atol instead of test in EvalPlus' own file."""
    if evalplus.has_inputs(row):
        solution = row.text("prompt") + row.text("canonical_solution")
        row = Row(row.values | {"test": evalplus.make_test(row, solution)})
    return dataclasses.replace(humaneval.make_problem(row, number), task="humaneval_plus")


TASK = Task(
    template=humaneval.TEMPLATE,
    judge=humaneval.TASK.judge,
    make_problem=make_problem,
    passages=(*humaneval.TASK.passages, evalplus.PASSAGES),
    hub="evalplus/humanevalplus",
)
