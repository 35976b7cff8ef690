"""What tests of tasks share: judging as the command does."""

from __future__ import annotations

import pytest

from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.common.row import Row

PROGRAMS = [
    "bigcodebench",
    "humaneval_plus",
    "livecodebench",
    "mbpp",
    "mbpp_plus",
    "small_programs",
]


@pytest.fixture(scope="session")
def judges():
    """Judges without haste."""
    with JudgePool(PROGRAMS, 1, timeout=60.0, memory=4 << 30) as judges:
        yield judges


def problem_of(task: str, row: dict) -> Problem:
    """The problem of a row, which can be judged."""
    found = find_task(task, "task")
    assert found.make_problem is not None
    problem = found.make_problem(Row(row), 0)
    found.judge.check_reference(problem.reference)
    return problem
