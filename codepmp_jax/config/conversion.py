"""Conversion between training runs and Hugging Face folders."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config


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
