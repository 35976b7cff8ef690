"""What a family of models can differ in."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Family:
    """The traits of an architecture that are not dimensions."""

    qkv_bias: bool
    """Whether the query, key and value projections have biases."""
