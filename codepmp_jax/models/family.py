"""What a family of models can differ in."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Family:
    """The traits of an architecture that are not dimensions."""

    qkv_bias: bool = False
    """Whether the query, key and value projections have biases."""
    qk_norm: bool = False
    """Whether each head's query and key are normalised before they are rotated."""
    post_norms: bool = False
    """Whether what attention and MLP add to the residual stream is normalised too."""
    norm_offset: float = 0.0
    """Added to a norm's stored scale, which starts at 1 less this."""
    activation: Literal["silu", "gelu_tanh"] = "silu"
    """Of the MLP's gate."""
    scale_embeddings: bool = False
    """Whether embeddings are multiplied by sqrt(D), rounded to the compute dtype."""
    sliding_layers: tuple[bool, ...] = (True,)
    """Of each so many layers, which have the sliding window, where there is one."""
