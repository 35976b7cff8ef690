"""How a weight's array is laid out here and at Hugging Face, in whole and in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from codepmp_jax.families.weights import Weight

Index = tuple[slice, ...]
"""A part of an array: a slice of every dim."""


def to_hf(weight: Weight, array: np.ndarray) -> np.ndarray:
    """One layer's array, or a part of it that `blocks` gives, in Hugging Face's layout."""
    if weight.path == "decoder/embedding":
        return array
    if not weight.is_kernel:
        return array.reshape(-1)
    return np.ascontiguousarray(array.reshape(len(array), -1).T)


def from_hf(weight: Weight, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Hugging Face's tensor as one layer's array of `shape`."""
    return (tensor.T if weight.is_kernel else tensor).reshape(shape)


def hf_shape(weight: Weight, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape at Hugging Face of one layer's array of `shape`."""
    if weight.path == "decoder/embedding":
        return shape
    return (math.prod(shape[1:]), shape[0]) if weight.is_kernel else (math.prod(shape),)


def blocks(weight: Weight, shape: tuple[int, ...], max_elements: int) -> Iterator[Index]:
    """Parts of one layer's array of `shape` that are consecutive rows of Hugging Face's tensor.

    Each has at most `max_elements`, but at least one row of ours.
    """
    dim = 1 if weight.is_kernel else 0
    step = max(1, max_elements * shape[dim] // math.prod(shape))
    for start in range(0, shape[dim], step):
        rows = slice(start, min(start + step, shape[dim]))
        yield (*(slice(0, size) for size in shape[:dim]), rows)


def read_part(
    weight: Weight, read: Callable[[Index], np.ndarray], index: Index, shape: tuple[int, ...]
) -> np.ndarray:
    """The part `index` of one layer's array of `shape`, from Hugging Face's tensor.

    `read` gives a part of that tensor. Dims after the first output dim are read whole.
    """
    if weight.path == "decoder/embedding":
        return read(index)
    dim = 1 if weight.is_kernel else 0
    each = math.prod(shape[dim + 1 :])
    rows = slice(index[dim].start * each, index[dim].stop * each)
    part = read((rows, index[0]) if weight.is_kernel else (rows,))
    sizes = [part.stop - part.start for part in index[: dim + 1]]
    whole = from_hf(weight, part, (*sizes, *shape[dim + 1 :]))
    return whole[(..., *index[dim + 1 :])]


def bounded(index: Any, shape: tuple[int, ...]) -> Index:
    """The index with start and stop of every dim as numbers; dims that it lacks are whole."""
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
    """The tree of arrays given by their paths."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree
