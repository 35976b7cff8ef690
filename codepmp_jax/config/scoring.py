"""Candidates or pairs -> scores."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class ScorerConfig(Config):
    """How PyTorch scores texts with a converted model."""

    batch_tokens: int = 16384
    """Padded tokens a batch; batches hold rows of similar length."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the model; rewards are float32."""
    device: str = "auto"
    """PyTorch device; `auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        require_positive("scorer.", self, "batch_tokens")


@dataclasses.dataclass(frozen=True)
class ScoreConfig(Config):
    """Rewards of every candidate, or of both texts of every pair."""

    model: str = ""
    """Hugging Face folder, as written by launch/convert.py (torch); training run (jax)."""
    backend: Literal["torch", "jax"] = "torch"
    """PyTorch, from a converted folder; or JAX, on the devices of a pod, from a run's checkpoint."""
    input: str = "runs/candidates.jsonl"
    """Candidates (JSONL, a problem a line); or pairs: a folder of shards, or a JSONL or Parquet file in TRL's or
    RewardBench's format."""
    output: str = "runs/scores.jsonl"
    """JSONL file that receives the scores, a text a line."""
    scorer: ScorerConfig = ScorerConfig()
