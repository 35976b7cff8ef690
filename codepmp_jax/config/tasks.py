"""Benchmarks -> problems, and candidates -> judged candidates."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import Config


@dataclasses.dataclass(frozen=True)
class ProblemsConfig(Config):
    """The problems of a benchmark, one a line."""

    task: str = ""
    """Benchmark."""
    input: str | None = None
    """Local file of the benchmark's schema, or name of a data set; by default the benchmark's own."""
    output: str = "runs/problems.jsonl"
    """JSONL file that receives the problems."""


@dataclasses.dataclass(frozen=True)
class JudgeConfig(Config):
    """Candidates -> the same with a judgement each."""

    input: str = "runs/candidates.jsonl"
    """Candidates, one problem a line."""
    output: str = "runs/judged.jsonl"
    """JSONL file that receives the judged candidates."""
