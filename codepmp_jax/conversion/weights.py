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
    num_inputs: int | None = None
    """Leading dims of our kernel that are inputs; Hugging Face keeps (outputs, inputs). None for
    embeddings, biases and scales, which are only reshaped."""

    @property
    def is_stacked(self) -> bool:
        """Whether our array holds this weight of every layer."""
        return "{layer}" in self.name

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """One layer's array in Hugging Face's layout."""
        if self.path == "decoder/embedding":
            return array
        if self.num_inputs is None:
            return array.reshape(-1)
        inputs = math.prod(array.shape[: self.num_inputs])
        return np.ascontiguousarray(array.reshape(inputs, -1).T)

    def from_hf(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Hugging Face's tensor as one layer's array of `shape`."""
        return (tensor if self.num_inputs is None else tensor.T).reshape(shape)

    def hf_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape at Hugging Face of one layer's array of `shape`."""
        if self.path == "decoder/embedding":
            return shape
        if self.num_inputs is None:
            return (math.prod(shape),)
        return math.prod(shape[self.num_inputs :]), math.prod(shape[: self.num_inputs])


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
