"""Pair shards from and to the files of others."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class ImportConfig(Config):
    """JSONL or Parquet preference pairs -> PreferencePair shards."""

    input: str = ""
    """JSONL (.jsonl, .jsonl.gz) or Parquet file, or a folder of them, read in the order of their names."""
    output: str = "runs/pairs"
    """Folder that receives the pair shards."""
    split: Literal["train", "heldout"] = "train"
    """Split that the pairs become; both splits can be written into one folder, one after the other."""
    records_per_shard: int = 100_000
    """Pairs a shard; the last one holds the rest."""
    skip_bad: bool = False
    """Write malformed rows to rejects.jsonl and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        require_positive("", self, "records_per_shard")


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """PreferencePair shards -> a JSONL or Parquet file in TRL's preference format."""

    input: str = "runs/pairs"
    """Folder of pair shards."""
    output: str = "pairs.parquet"
    """File to write; its ending, .jsonl or .parquet, says the format."""
    split: Literal["train", "heldout"] = "train"
    """Split to export."""
