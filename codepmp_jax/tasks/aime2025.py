"""AIME 2025: thirty problems of a competition, whose answers are whole numbers up to 999."""

from __future__ import annotations

import functools

from codepmp_jax.tasks import aime2024
from codepmp_jax.tasks.common.task import Task

TASK = Task(
    template=aime2024.TASK.template,
    judge=aime2024.TASK.judge,
    make_problem=functools.partial(aime2024.make_problem, task="aime2025"),
    passages=aime2024.TASK.passages,
    hub="math-ai/aime25",
)
