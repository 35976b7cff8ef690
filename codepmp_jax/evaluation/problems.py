"""A benchmark -> problems: every row, or an error that names the first one that is not of use."""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ProblemsConfig
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.evaluation.tasks.benchmarks import find_benchmark
from codepmp_jax.files import rows
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Problem

_ENDINGS = (".jsonl", ".json", ".txt", ".parquet", ".gz")


def run(config: ProblemsConfig) -> None:
    """Writes the problems, all or none, and prints how many there are of each subset."""
    passed_over: collections.Counter[str] = collections.Counter()
    problems = list(read_benchmark(config, passed_over))
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
    if passed_over:
        reasons = ", ".join(f"{generator} {count}" for generator, count in passed_over.items())
        print(f"passed over, for want of a right or of wrong answers: {reasons}")
    print(f"{len(problems)} problems -> {config.output}")


def read_benchmark(
    config: ProblemsConfig, passed_over: collections.Counter[str] | None = None
) -> Iterator[Problem]:
    """The problems of a benchmark, in its order; puzzles that are of no use are counted in `passed_over`.

    Raises UserError where it cannot be loaded, and naming the row where one is of no use or its id stands twice.
    """
    benchmark = find_benchmark(config.task, "problems")
    if benchmark.make_problem is None:
        require(
            config.input is None,
            "input",
            config.input,
            f"must not be given for {config.task}, whose problems are made",
            "set --puzzles.datasets, --puzzles.num-problems and --puzzles.seed",
        )
        _require_package("reasoning_gym", "reasoning-gym")
        from codepmp_jax.evaluation.tasks import puzzles

        yield from progress(
            puzzles.make_problems(
                config, collections.Counter() if passed_over is None else passed_over
            ),
            total=len(config.puzzles.datasets) * config.puzzles.num_problems,
            desc=config.task,
            unit="problem",
        )
        return
    where, found = _load(benchmark, config)
    seen: dict[str, int] = {}
    for number, row in enumerate(progress(found, desc=config.task, unit="problem")):
        try:
            problem = benchmark.make_problem(Row(row), number)
            if problem.problem_id in seen:
                raise ValueError(
                    f"is named {problem.problem_id} as row {seen[problem.problem_id] + 1} is"
                )
        except ValueError as error:
            raise UserError(
                f"{where}, row {number + 1}: {error}. Remedy: give {config.task} whole and as its authors "
                f"publish it{f' (columns of {benchmark.hub})' if benchmark.hub else ''}."
            ) from error
        seen[problem.problem_id] = number
        yield problem
    require(bool(seen), where, 0, f"holds no problem of {config.task}", "download it again")


def _load(benchmark: Benchmark, config: ProblemsConfig) -> tuple[str, Iterable[dict[str, Any]]]:
    """(where from, rows) of a benchmark."""
    path = None if config.input is None else pathlib.Path(config.input)
    if path is None and benchmark.packaged is not None:
        path = benchmark.packaged()
    if path is None or path.is_dir():
        return _load_data_set(benchmark, config)
    is_name = path.suffix not in _ENDINGS and str(path).count("/") == 1 and path.parts[0] != "."
    if is_name and not path.exists():
        return _load_data_set(benchmark, config)
    for name in ("configurations", "split"):
        require(
            not getattr(config, name),
            name,
            getattr(config, name),
            f"is of data sets, and {path} is a file, which is taken whole",
            "leave it out",
        )
    return str(path), rows.parse_rows(rows.read_bytes(path, "input"), path, "input")


def _load_data_set(
    benchmark: Benchmark, config: ProblemsConfig
) -> tuple[str, Iterable[dict[str, Any]]]:
    _require_package("datasets", "datasets")
    import datasets

    name = config.input or benchmark.hub
    split = config.split or benchmark.split
    configurations = config.configurations or benchmark.configurations or (None,)
    try:
        if not name:
            where = benchmark.url
            parts = [datasets.load_dataset("json", data_files=benchmark.url, split="train")]
        else:
            where = f"{name}, split {split}"
            parts = [datasets.load_dataset(name, part, split=split) for part in configurations]
    except (
        Exception
    ) as error:  # whatever the hub, the network or the format say: one answer for all
        raise UserError(
            f"task = {config.task!r}: {name or benchmark.url} cannot be loaded ({type(error).__name__}: "
            f"{error}). Remedy: see that it is there, or give a file of the same columns with --input."
        ) from error
    return where, (row for part in parts for row in part)  # pyright: ignore[reportReturnType]


def _require_package(module: str, package: str) -> None:
    """Raises UserError where a package is not installed."""
    require(
        importlib.util.find_spec(module) is not None,
        "task",
        package,
        "the package is not installed",
        f"pip install {package} (extra `evaluation`)",
    )
