"""Candidates or pairs -> scores."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive
from codepmp_jax.config.mesh import MeshConfig


@dataclasses.dataclass(frozen=True)
class ScorerConfig(Config):
    """How texts are scored."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations and matmuls; rewards are float32."""
    batch_tokens: int | None = None
    """Tokens computed at once (jax: by each device that rows are shared out to); by default 1024 on a CPU and
    16384 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """PyTorch's device; `auto` takes a GPU where there is one. JAX takes what there is."""

    def __post_init__(self) -> None:
        if self.batch_tokens is not None:
            require_positive("scorer.", self, "batch_tokens")


@dataclasses.dataclass(frozen=True)
class ScoreConfig(Config):
    """Rewards of every candidate, or of both texts of every pair."""

    model: str = ""
    """Hugging Face folder, as written by launch/convert.py (torch); training run (jax)."""
    backend: Literal["torch", "jax"] = "torch"
    """PyTorch, from a converted folder; or JAX, on the devices of a pod, from a run's checkpoint."""
    step: int | None = None
    """Step of the run's checkpoint (jax); by default the newest."""
    input: str = "runs/candidates.jsonl"
    """Candidates (JSONL, a problem a line); or pairs: a folder of shards, or JSONL or Parquet in TRL's or
    RewardBench's format."""
    split: Literal["train", "heldout"] = "heldout"
    """Split of a folder of shards."""
    output: str = "runs/scores.jsonl"
    """JSONL file that receives the scores, a text a line."""
    scorer: ScorerConfig = ScorerConfig()
    mesh: MeshConfig = MeshConfig()
    """Layout of the devices (jax)."""

    def __post_init__(self) -> None:
        require(
            self.backend == "jax" or (self.step is None and self.mesh == MeshConfig()),
            "backend",
            self.backend,
            "must be jax with --step or --mesh, which are about a training run",
            "give --backend jax, or leave them out",
        )
        require(
            self.backend == "torch" or self.scorer.device == "auto",
            "scorer.device",
            self.scorer.device,
            "must be left out with --backend jax, which takes the devices that there are",
            "set JAX_PLATFORMS to choose others",
        )
