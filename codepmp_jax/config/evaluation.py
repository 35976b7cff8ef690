"""Scores -> pairwise accuracy, Best-of-N, a report."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class ResamplingConfig(Config):
    """Intervals by the bootstrap over problems or pairs, and p-values by sign flips."""

    num_resamples: int = 1000
    """Resamples of each."""
    seed: int = 0
    """Seed of the resamples."""

    def __post_init__(self) -> None:
        require_positive("resampling.", self, "num_resamples")


@dataclasses.dataclass(frozen=True)
class VotesConfig(Config):
    """Votes over the answers of N candidates, averaged over subsets of N."""

    temperature: float = 1.0
    """Of the softmax of rewards that weights the votes."""
    num_draws: int = 1000
    """Random subsets of N a problem, where there are more; where there are not, all of them are counted."""
    seed: int = 0
    """Seed of the random subsets; a problem's are the same for every model."""

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.temperature) and self.temperature > 0,
            "votes.temperature",
            self.temperature,
            "must be positive and finite",
            "the majority vote, at an infinite temperature, is reported beside it",
        )
        require(
            self.num_draws >= 2,
            "votes.num_draws",
            self.num_draws,
            "must be at least 2, for a standard error",
            "give some hundreds",
        )


@dataclasses.dataclass(frozen=True)
class AccuracyConfig(Config):
    """Pairwise accuracy of scores."""

    pairs: str = "runs/pairs"
    """The pairs that were scored: a folder of shards, or a JSONL or Parquet file."""
    scores: str = "runs/scores.jsonl"
    """Their scores, by launch/evaluate.py score or by another program."""
    output: str = "runs/accuracy"
    """Folder that receives report.json, tables and plots."""
    split: Literal["train", "heldout"] = "heldout"
    """Split of a folder of shards."""
    resampling: ResamplingConfig = ResamplingConfig()


@dataclasses.dataclass(frozen=True)
class BestOfNConfig(Config):
    """Best-of-N of scores over judged candidates."""

    candidates: str = "runs/candidates.jsonl"
    """Judged candidates, one problem a line."""
    scores: str = "runs/scores.jsonl"
    """Their scores, by launch/evaluate.py score or by another program."""
    output: str = "runs/best_of_n"
    """Folder that receives report.json, tables and plots."""
    votes: VotesConfig = VotesConfig()
    resampling: ResamplingConfig = ResamplingConfig()


@dataclasses.dataclass(frozen=True)
class ReportConfig(Config):
    """Several models side by side."""

    inputs: tuple[str, ...] = ()
    """Folders that accuracy and best-of-n wrote. Differences are taken to the first model."""
    names: tuple[str, ...] = ()
    """What to call the model of each input; by default what its scores say of their model, or the input's
    own name."""
    output: str = "runs/report"
    """Folder that receives report.json, tables, plots and report.html."""
    resampling: ResamplingConfig = ResamplingConfig()

    def __post_init__(self) -> None:
        require(
            len(self.names) in (0, len(self.inputs)),
            "names",
            list(self.names),
            f"must be as many as the inputs, {len(self.inputs)}, or none",
            "give one name an input, in their order",
        )
