"""What a task is: where its rows come from, what becomes of one, and how a response is judged."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.judges.judge import Judge

if TYPE_CHECKING:  # judge processes need no settings
    from codepmp_jax.config import ProblemsConfig


@dataclasses.dataclass(frozen=True)
class Passages:
    """The texts of a published row that must not occur in a corpus."""

    benchmark: str
    """Name of the benchmark in reports."""
    columns: tuple[str, ...]
    """A file whose rows have all of these columns is taken for this benchmark's."""
    id: str
    """Column that names a row; rows without it are numbered."""
    texts: Callable[[dict[str, Any]], list[str]]
    """The texts of a row, its problem first. Raises KeyError or TypeError where the row is malformed."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A benchmark. Its name is that of its module."""

    template: str
    """What a model is asked; {prompt} stands for the problem's prompt, with its options where it has some."""
    judge: Judge
    make_problem: Callable[[Row, int], Problem] | None = None
    """The problem of the row with this number, from 0. Raises ValueError, or LeftOut. None where problems are generated."""
    make_problems: (
        Callable[[ProblemsConfig, collections.Counter[str]], Iterator[Problem]] | None
    ) = None
    """Generates the problems instead; the counter receives those skipped, by reason."""
    by_data_set: bool = False
    """Whether they are generated for each of puzzles.datasets in turn."""
    date: Callable[[Row], datetime.date] | None = None
    """The day on which a row's problem was published. Raises ValueError."""
    passages: tuple[Passages, ...] = ()
    """One for each form in which the rows are published."""
    hub: str = ""
    """Name of the data set on the Hugging Face hub."""
    configurations: tuple[str, ...] = ()
    """Configurations that make up the benchmark; empty where the data set has only one."""
    split: str = "test"
    url: str = ""
    """JSON lines on the web, where the authors' file is on no hub."""
    repeats_ids: bool = False
    """Whether the authors' file gives one id to several rows, which then get a number: ID, ID/2, ID/3."""
    packaged_file: Callable[[], pathlib.Path] | None = None
    """The file that a Python package ships. Raises ImportError where the package is not installed."""
