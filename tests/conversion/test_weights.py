from __future__ import annotations

import itertools

import numpy as np
import pytest

from codepmp_jax.conversion.weights import (
    blocks,
    bounded,
    from_hf,
    hf_shape,
    read_part,
    to_hf,
)
from codepmp_jax.families.weights import Weight

# A weight, the shape of one layer's array.
WEIGHTS = [
    (Weight("decoder/embedding", "e"), (7, 4)),
    (Weight("lm_head/kernel", "h", is_kernel=True), (4, 7)),
    (Weight("query/kernel", "q", is_kernel=True), (4, 6, 3)),
    (Weight("query/bias", "b"), (6, 3)),
    (Weight("norm/scale", "n"), (5,)),
]


@pytest.mark.parametrize(("weight", "shape"), WEIGHTS, ids=lambda value: str(value)[:30])
def test_blocks_are_the_rows_of_the_whole(weight, shape):
    array = np.random.default_rng(0).standard_normal(shape)
    whole = to_hf(weight, array)
    assert whole.shape == hf_shape(weight, shape)
    np.testing.assert_array_equal(from_hf(weight, whole, shape), array)
    for max_elements in (1, 9, 20, 10**6):
        parts = [to_hf(weight, array[index]) for index in blocks(weight, shape, max_elements)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert len(parts) == 1 or max(block.size for block in parts) <= max(
            max_elements, array.size // min(shape)
        )


@pytest.mark.parametrize(("weight", "shape"), WEIGHTS, ids=lambda value: str(value)[:30])
def test_any_part_is_read_by_itself(weight, shape):
    """From no more of the tensor than it takes; the dims behind the first output are read whole."""
    array = np.random.default_rng(0).standard_normal(shape)
    whole = to_hf(weight, array)
    first = 1 if weight.is_kernel else 0
    for parts in itertools.product(*([slice(None), slice(0, 2), slice(1, size)] for size in shape)):
        index = bounded(parts, shape)
        sizes = []

        def read(where, sizes=sizes):
            part = whole[where]
            sizes.append(part.size)
            return part

        found = read_part(weight, read, index, shape)
        np.testing.assert_array_equal(found, array[index])
        taken = array[(*index[: first + 1],)] if weight.path != "decoder/embedding" else found
        assert sizes == [taken.size]
