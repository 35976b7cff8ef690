"""Conversion to Hugging Face folders and their evaluation."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Config):
    """Training run -> Hugging Face folder."""

    run: str = ""
    """Training run (its workdir)."""
    output: str = ""
    """Hugging Face folder to write."""
    step: int | None = None
    """Checkpoint to convert; the newest if not given."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the written tensors."""
    heads: Literal["auto", "both", "lm"] = "auto"
    """Write a reward model, which keeps its LM head (`both`), or a causal LM without the score head, as
    engines that generate text want it (`lm`). `auto` is `lm` for a run without pair loss (loss.rm_coef 0),
    `both` for any other."""
    verify: bool = False
    """Load the written folder with PyTorch and compare rewards and logits with JAX on sample texts."""


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
class AccuracyConfig(Config):
    """Pairwise accuracy of a Hugging Face reward model on pair shards."""

    model: str = ""
    """Hugging Face folder, as written by launch/convert.py."""
    input: str = "runs/pairs"
    """Folder of pair shards."""
    output: str = "runs/accuracy"
    """Folder that receives scores.jsonl, report.json and accuracy.png."""
    split: Literal["train", "heldout"] = "heldout"
    """Split that is scored."""
    max_pairs: int | None = None
    """Pairs scored, from the first; all of them if not given."""
    scorer: ScorerConfig = ScorerConfig()


@dataclasses.dataclass(frozen=True)
class BestOfNConfig(Config):
    """Best-of-N of a Hugging Face reward model over candidates."""

    model: str = ""
    """Hugging Face folder, as written by launch/convert.py."""
    input: str = "runs/candidates.jsonl"
    """Candidates, one problem a line."""
    output: str = "runs/best_of_n"
    """Folder that receives scores.jsonl, report.json and best_of_n.png."""
    scorer: ScorerConfig = ScorerConfig()
