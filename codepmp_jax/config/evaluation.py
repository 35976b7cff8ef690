"""Scores -> pairwise accuracy, Best-of-N, a report."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, DiskPath, PositiveFloat, PositiveInt, Remedy, StorePath


@dataclasses.dataclass(frozen=True)
class ResamplingConfig(Config, section="resampling"):
    """Confidence intervals by the bootstrap over problems or pairs, and p-values by sign flips."""

    num_resamples: PositiveInt = 1000
    """Number of bootstrap resamples, and of sign flips."""
    seed: int = 0
    """Seed of the resamples."""


@dataclasses.dataclass(frozen=True)
class VotesConfig(Config, section="votes"):
    """Votes over the answers of N candidates, averaged over subsets of N."""

    temperature: Annotated[
        PositiveFloat,
        Remedy(
            "the majority vote, which is the limit of an infinite temperature, is reported anyway"
        ),
    ] = 1.0
    """Temperature of the softmax over rewards that weights the votes."""
    num_draws: Annotated[
        int, Ge(2), Remedy("give some hundreds; two are the fewest for a standard error")
    ] = 1000
    """Number of random subsets of N per problem. A problem with no more subsets than that uses all of them."""
    seed: int = 0
    """Seed of the random subsets, which are the same for every model."""


@dataclasses.dataclass(frozen=True)
class AccuracyConfig(Config):
    """Pairwise accuracy of scores."""

    pairs: StorePath = "runs/pairs"
    """The scored pairs: a folder of shards, or a JSONL or Parquet file."""
    scores: DiskPath = "runs/scores.jsonl"
    """Scores of the pairs, written by launch/evaluate.py score or by another program."""
    output: DiskPath = "runs/accuracy"
    """Folder to write report.json, tables and plots to."""
    split: Literal["train", "heldout"] = "heldout"
    """Split to read from a folder of shards."""
    resampling: ResamplingConfig = ResamplingConfig()


@dataclasses.dataclass(frozen=True)
class BestOfNConfig(Config):
    """Best-of-N of scores over judged candidates."""

    candidates: DiskPath = "runs/candidates.jsonl"
    """Judged candidates, one problem per line."""
    scores: DiskPath = "runs/scores.jsonl"
    """Scores of the candidates, written by launch/evaluate.py score or by another program."""
    output: DiskPath = "runs/best_of_n"
    """Folder to write report.json, tables and plots to."""
    votes: VotesConfig = VotesConfig()
    resampling: ResamplingConfig = ResamplingConfig()


@dataclasses.dataclass(frozen=True)
class PassAtKConfig(Config):
    """pass@k of policies on the same problems."""

    policies: tuple[DiskPath, ...] = ()
    """Judged candidates of each policy, one problem per line, for the same problems. Differences are from the first."""
    k: tuple[PositiveInt, ...] = (1,)
    """Numbers of candidates of which one has to be correct; a problem must have as many."""
    output: DiskPath = "runs/pass_at_k"
    """Folder to write report.json, pass_at_k.csv, problems.csv and a plot to."""
    resampling: ResamplingConfig = ResamplingConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.k) > 0, "k", self.k, "must be at least one number", "give --k 1")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(Config):
    """The table of a reward model benchmark, by its authors' rule."""

    candidates: DiskPath = "runs/problems.jsonl"
    """The benchmark's responses, as `evaluate problems` writes them."""
    scores: DiskPath = "runs/scores.jsonl"
    """Their scores, written by launch/evaluate.py score or by another program."""
    output: DiskPath = "runs/benchmark"
    """Folder to write report.json and benchmark.csv to."""


@dataclasses.dataclass(frozen=True)
class ReportConfig(Config):
    """Several models side by side."""

    inputs: tuple[str, ...] = ()
    """Folders written by accuracy, best-of-n and pass-at-k. Differences are relative to the first model or policy."""
    names: tuple[str, ...] = ()
    """Display name of each input's model, and of each policy of one by pass-at-k, in the order of the inputs. By default
    the model named in its scores, or the input's folder name; of a policy its file."""
    output: DiskPath = "runs/report"
    """Folder to write report.json, tables, plots and report.html to."""
    resampling: ResamplingConfig = ResamplingConfig()
