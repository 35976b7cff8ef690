"""Task name -> task. Every module of `codepmp_jax.tasks` is a task; it is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from codepmp_jax.cli.names import modules_in, require_name
from codepmp_jax.tasks.common.task import Task


def find_task(name: str, path: str) -> Task:
    """The task of that name. Raises UserError with `path` and the nearest name where there is none."""
    names = modules_in("tasks")
    if name not in names:  # asked for every response, unlike the nearest name
        require_name(path, name, names)
    return importlib.import_module(f"codepmp_jax.tasks.{name}").TASK


def all_tasks() -> Iterator[Task]:
    """Every task, in the order of their names."""
    return (find_task(name, "task") for name in modules_in("tasks"))
