"""Candidates or pairs -> scores."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, PositiveInt
from codepmp_jax.config.mesh import MeshConfig


@dataclasses.dataclass(frozen=True)
class ScorerConfig(Config, section="scorer"):
    """How texts are scored."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations and matmuls; rewards are float32."""
    batch_tokens: PositiveInt | None = None
    """Tokens computed at once (jax: per device that rows are distributed over); by default 1024 on a CPU and
    16384 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """PyTorch device; `auto` uses a GPU if there is one. JAX always uses the devices that it finds."""


@dataclasses.dataclass(frozen=True)
class ScoreConfig(Config):
    """Rewards of every candidate, or of both texts of every pair."""

    model: str = ""
    """Model to score with: a Hugging Face folder, as written by launch/convert.py (torch), or a training run (jax)."""
    backend: Literal["torch", "jax"] = "torch"
    """`torch`: PyTorch, from a converted folder. `jax`: JAX, from a run's checkpoint, on one device or the devices of
    a pod."""
    step: int | None = None
    """Step of the run's checkpoint (jax); by default the newest."""
    input: str = "runs/candidates.jsonl"
    """Texts to score. Candidates: JSONL, one problem per line. Pairs: a folder of shards, or JSONL or Parquet in the
    format of TRL or RewardBench."""
    split: Literal["train", "heldout"] = "heldout"
    """Split to read from a folder of shards."""
    output: str = "runs/scores.jsonl"
    """JSONL file to write the scores to, one text per line."""
    scorer: ScorerConfig = ScorerConfig()
    mesh: MeshConfig = MeshConfig()
    """Layout of the devices (jax)."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
