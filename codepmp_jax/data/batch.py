"""A batch of tokenized pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Bool, Float32, Int32


class Batch(NamedTuple):
    """N pairs of static shape; side 0 is chosen, side 1 rejected; L = data.max_length."""

    tokens: Int32[Any, "N 2 L"]
    token_mask: Bool[Any, "N 2 L"]
    """False at padding."""
    response_mask: Bool[Any, "N 2 L"]
    """The token is an LM label. Given for both sides; which count is the loss's business."""
    margin: Float32[Any, " N"]
    pair_mask: Bool[Any, " N"]
    """False for a filler pair, whose rows are all padding."""
