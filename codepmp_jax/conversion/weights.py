"""How one weight is named and laid out here and at Hugging Face."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Weight:
    """A row of a family's weight table, read in both directions."""

    path: str
    """Names in our parameters, with `/`; under `decoder/layers/` the layers are stacked in front."""
    name: str
    """Hugging Face's name; `{layer}` stands for the layer's number."""
    is_kernel: bool = False
    """Whether it is (inputs, outputs...) here and (outputs, inputs) at Hugging Face; embeddings, biases and
    scales are only reshaped."""

    @property
    def is_stacked(self) -> bool:
        """Whether our array holds this weight of every layer."""
        return "{layer}" in self.name

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """One layer's array in Hugging Face's layout."""
        if self.path == "decoder/embedding":
            return array
        if not self.is_kernel:
            return array.reshape(-1)
        return np.ascontiguousarray(array.reshape(len(array), -1).T)

    def from_hf(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Hugging Face's tensor as one layer's array of `shape`."""
        return (tensor.T if self.is_kernel else tensor).reshape(shape)

    def hf_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape at Hugging Face of one layer's array of `shape`."""
        if self.path == "decoder/embedding":
            return shape
        return (math.prod(shape[1:]), shape[0]) if self.is_kernel else (math.prod(shape),)


def leaf(params: Any, path: str) -> Any:
    """The array at a path of names joined by `/`."""
    for name in path.split("/"):
        params = params[name]
    return params


def paths(params: Any, prefix: str = "") -> Iterator[str]:
    """The paths of all arrays."""
    for name, value in params.items():
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"
