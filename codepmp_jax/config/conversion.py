"""Conversion between training runs and Hugging Face folders."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
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
    chat_template: Literal["auto", "text", "conversation"] = "auto"
    """What apply_chat_template writes: rows of data.template, as pairs of strings are trained on (`text`), or
    the tokenizer's own template, as conversations are trained on (`conversation`). `auto` looks at the first
    pairs of the run's data.input; where that is not at hand, it is `text`."""
    verify: bool = False
    """Load the written folder with PyTorch and compare rewards and logits with JAX: texts of several lengths,
    in batches of several sizes, padded on either side."""


@dataclasses.dataclass(frozen=True)
class FromHfConfig(Config):
    """Hugging Face folder -> training run, from which `--model.init-from` starts."""

    input: str = ""
    """Hugging Face folder or hub name."""
    output: str = ""
    """Training run to write (a workdir with a checkpoint of step 0)."""
    tie_embeddings: bool = False
    """Keep the LM head tied to the embedding, where the folder ties it. Otherwise it becomes a matrix of its
    own that starts as the embedding, as in the paper."""
    score_init_std: float = 0.0
    """Standard deviation of the score head, where the folder has none."""
    seed: int = 0
    """Seed of that score head."""

    def __post_init__(self) -> None:
        require(
            self.score_init_std >= 0,
            "score_init_std",
            self.score_init_std,
            "must not be negative",
            "0 starts every reward at 0",
        )
