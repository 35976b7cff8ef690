"""Candidates -> judged candidates: every one gets a judgement, and every verdict is counted."""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import JudgeConfig
from codepmp_jax.evaluation.judges.container import Image
from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.files.journal import Journal, open_journal
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Problem, read_problems
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.judges.judge import NO_ANSWER, Judgement

# A resumed run compares it: raise it with any change of a verdict.
_VERSION = 2
# Problems submitted ahead of the one that is written next.
_AHEAD = 64


def run(config: JudgeConfig) -> None:
    """Judges every candidate, and prints and writes the counts of verdicts.

    Killed at any time, it resumes with the same command. Raises UserError, before any work, where a problem or
    its candidates cannot be judged.
    """
    tasks, num_candidates = _check(config)
    image = None if config.container is None else Image(config.container)
    settings = {
        "version": _VERSION,
        "input": sha256_of(config.input),
        "timeout_seconds": config.timeout_seconds,
        "memory_mib": config.memory_mib,
        "packages": _versions(tasks),
        **({} if image is None else {"container": image.identifier}),
    }
    with (
        open_journal(config.output, settings) as journal,
        JudgePool(
            sorted(tasks),
            config.workers or os.cpu_count() or 1,
            config.timeout_seconds,
            config.memory_mib << 20,
            image,
        ) as pool,
    ):
        _judge(config, pool, journal, num_candidates)
        judged = (Problem.from_json(line) for line in journal.lines())
        counts = count_verdicts(judged)
        path = pathlib.Path(config.output).with_suffix(".verdicts.json")
        write_json(path, {"settings": settings, "tasks": counts})
        journal.finish()
    print(verdict_table(counts))
    for task, found in counts.items():
        print(f"{task}: {found['solved']} of {found['problems']} problems have a correct candidate")
    print(f"{num_candidates} candidates -> {config.output}, counts {path}")


def _check(config: JudgeConfig) -> tuple[set[str], int]:
    """(tasks, number of candidates) of the input. Raises UserError naming the problem that cannot be judged."""
    tasks: set[str] = set()
    num_candidates = 0
    for problem in read_problems(config.input):
        where = f"{config.input}: problem {problem.problem_id!r}"
        task = find_task(problem.task, f"{where}: task")
        for name in task.judge.reference:
            require(
                name in problem.reference,
                f"{where}: reference",
                sorted(problem.reference),
                f"lacks {name}, which candidates of {problem.task} are judged by",
                "write the problems with launch/evaluate.py problems",
            )
        try:
            task.judge.check_reference(problem.reference)
        except ValueError as error:
            raise UserError(
                f"{where}: reference: {error}. Remedy: correct it, or leave the problem out."
            ) from error
        require(
            len(problem.candidates) > 0,
            f"{where}: candidates",
            0,
            "must be at least one",
            "write some with launch/candidates.py",
        )
        tasks.add(problem.task)
        num_candidates += len(problem.candidates)
    require(bool(tasks), config.input, 0, "holds no problem", "give a file of candidates")
    return tasks, num_candidates


def _versions(tasks: set[str]) -> dict[str, str]:
    """Package -> version of what the tasks' judges depend on. Raises UserError where one is missing."""
    found = {}
    for package in sorted(
        {name for task in tasks for name in find_task(task, "task").judge.packages}
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(
                f"input: its candidates are judged with {package}, which is not installed. Remedy: pip "
                f"install {package} (extra `evaluation`)."
            ) from error
    return found


def _judge(config: JudgeConfig, pool: JudgePool, journal: Journal, num_candidates: int) -> None:
    """Judges the problems that the journal lacks, and appends them in their order."""
    num_done = journal.num_lines
    problems = iter(read_problems(config.input))
    before = sum(len(problem.candidates) for problem in itertools.islice(problems, num_done))
    waiting: collections.deque[tuple[Problem, list[Future[Judgement] | None]]] = collections.deque()
    with progress(total=num_candidates, initial=before, desc="judging", unit="candidate") as bar:
        while True:
            for problem in itertools.islice(problems, _AHEAD - len(waiting)):
                waiting.append((problem, list(_submit(pool, problem))))
            if not waiting:
                return
            problem, judgements = waiting.popleft()
            candidates = []
            for candidate, future in zip(problem.candidates, judgements, strict=True):
                is_correct, answer, verdict = (
                    (False, None, candidate.verdict or NO_ANSWER)
                    if future is None
                    else future.result()
                )
                candidates.append(
                    dataclasses.replace(
                        candidate, is_correct=is_correct, answer=answer, verdict=verdict
                    )
                )
                bar.update()
            journal.append([dataclasses.replace(problem, candidates=tuple(candidates)).to_json()])


def _submit(pool: JudgePool, problem: Problem) -> Iterator[Future[Judgement] | None]:
    """The future judgements; None for a candidate without a text, whose verdict says why."""
    for candidate in problem.candidates:
        yield pool.submit(problem, candidate.response) if candidate.response.strip() else None


def count_verdicts(problems: Iterable[Problem]) -> dict[str, dict[str, Any]]:
    """Task -> its problems, those with a correct candidate, candidates, and counts of verdicts in descending order."""
    found: dict[str, dict[str, Any]] = {}
    for problem in problems:
        counts = found.setdefault(
            problem.task,
            {"problems": 0, "solved": 0, "candidates": 0, "verdicts": collections.Counter()},
        )
        counts["problems"] += 1
        counts["solved"] += any(candidate.is_correct for candidate in problem.candidates)
        counts["candidates"] += len(problem.candidates)
        counts["verdicts"].update(candidate.verdict for candidate in problem.candidates)
    return {
        task: counts | {"verdicts": dict(counts["verdicts"].most_common())}
        for task, counts in found.items()
    }


def verdict_table(counts: dict[str, dict[str, Any]]) -> str:
    """`count_verdicts` as text: a line a verdict, with its share of the task's candidates."""
    lines = []
    for task, found in counts.items():
        total = found["candidates"]
        lines.append((task, str(total), ""))
        lines += [
            (f"  {verdict}", str(count), f"{count / total:.1%}")
            for verdict, count in found["verdicts"].items()
        ]
    return format_table(("task, verdict", "candidates", "share"), lines)
