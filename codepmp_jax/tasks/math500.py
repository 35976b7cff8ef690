"""MATH-500: the 500 problems of MATH that PRM800K (arXiv 2305.20050) holds out."""

from __future__ import annotations

import functools

from codepmp_jax.tasks import math
from codepmp_jax.tasks.common.task import Task

TASK = Task(
    template=math.TASK.template,
    judge=math.TASK.judge,
    make_problem=functools.partial(math.make_problem, task="math500"),
    passages=math.TASK.passages,
    hub="HuggingFaceH4/MATH-500",
)
