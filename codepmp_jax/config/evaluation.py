"""Scores -> pairwise accuracy, Best-of-N, a report."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config


@dataclasses.dataclass(frozen=True)
class AccuracyConfig(Config):
    """Pairwise accuracy of scores."""

    pairs: str = "runs/pairs"
    """The pairs that were scored: a folder of shards, or a JSONL or Parquet file."""
    scores: str = "runs/scores.jsonl"
    """Their scores, as launch/evaluate.py score writes them."""
    output: str = "runs/accuracy"
    """Folder that receives report.json, tables and plots."""
    split: Literal["train", "heldout"] = "heldout"
    """Split of a folder of shards."""


@dataclasses.dataclass(frozen=True)
class BestOfNConfig(Config):
    """Best-of-N of scores over judged candidates."""

    candidates: str = "runs/candidates.jsonl"
    """Judged candidates, one problem a line."""
    scores: str = "runs/scores.jsonl"
    """Their scores, by launch/evaluate.py score or by another program."""
    output: str = "runs/best_of_n"
    """Folder that receives report.json, tables and plots."""


@dataclasses.dataclass(frozen=True)
class ReportConfig(Config):
    """Several models side by side."""

    inputs: tuple[str, ...] = ()
    """Folders that accuracy and best-of-n wrote."""
    output: str = "runs/report"
    """Folder that receives report.json, tables, plots and report.html."""
