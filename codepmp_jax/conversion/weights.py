"""How one weight is named and laid out here and at Hugging Face."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Index = tuple[slice, ...]


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
        """One layer's array, or a part of it that `blocks` gives, in Hugging Face's layout."""
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

    def blocks(self, shape: tuple[int, ...], max_elements: int) -> Iterator[Index]:
        """The parts of one layer's array of `shape` that are, one after the other, the rows of Hugging
        Face's tensor; each of at most `max_elements`, but of one row of ours at the least."""
        dim = 1 if self.is_kernel else 0
        step = max(1, max_elements * shape[dim] // math.prod(shape))
        for start in range(0, shape[dim], step):
            rows = slice(start, min(start + step, shape[dim]))
            yield (*(slice(0, size) for size in shape[:dim]), rows)

    def read_part(
        self, read: Callable[[Index], np.ndarray], index: Index, shape: tuple[int, ...]
    ) -> np.ndarray:
        """The part `index` of one layer's array of `shape`, from Hugging Face's tensor.

        `read` gives a part of that tensor. Of the dims behind the first one of the outputs, everything is
        read.
        """
        if self.path == "decoder/embedding":
            return read(index)
        dim = 1 if self.is_kernel else 0
        each = math.prod(shape[dim + 1 :])
        rows = slice(index[dim].start * each, index[dim].stop * each)
        part = read((rows, index[0]) if self.is_kernel else (rows,))
        sizes = [part.stop - part.start for part in index[: dim + 1]]
        whole = self.from_hf(part, (*sizes, *shape[dim + 1 :]))
        return whole[(..., *index[dim + 1 :])]


def bounded(index: Any, shape: tuple[int, ...]) -> Index:
    """The index with the start and stop of every dim as numbers."""
    return tuple(
        slice(*part.indices(size)[:2])
        for part, size in zip((*index, *(slice(None),) * len(shape)), shape, strict=False)
    )


def leaf(params: Any, path: str) -> Any:
    """The array at a path of names joined by `/`."""
    for name in path.split("/"):
        params = params[name]
    return params


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """The tree of arrays that are given by path."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree
