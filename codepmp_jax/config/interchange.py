"""Pair shards from and to the files of others."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config, HubName, PositiveInt


@dataclasses.dataclass(frozen=True)
class ImportConfig(Config):
    """JSONL or Parquet preference pairs -> PreferencePair shards."""

    input: str = ""
    """JSONL (.jsonl, .jsonl.gz) or Parquet file, or a folder of them, read in the order of their names."""
    output: str = "runs/pairs"
    """Folder to write the pair shards to."""
    split: Literal["train", "heldout"] = "train"
    """Split to write. Both splits can be written into one folder; of two imports at once one waits."""
    records_per_shard: PositiveInt = 100_000
    """Pairs per shard; the last shard holds the rest."""
    skip_bad: bool = False
    """Write malformed rows to rejects.jsonl and count them. By default the first one stops the import."""


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """PreferencePair shards -> a JSONL or Parquet file in TRL's preference format."""

    input: str = "runs/pairs"
    """Folder of pair shards."""
    output: str = "pairs.parquet"
    """File to write. Its suffix, .jsonl or .parquet, selects the format."""
    split: Literal["train", "heldout"] = "train"
    """Split to export."""
    push_to_hub: HubName | None = None
    """Repository of data sets on the Hugging Face hub, OWNER/NAME, whose data/ the file is uploaded to. It is made,
    private, where it is not there."""
