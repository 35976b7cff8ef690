"""Some pairs of a data set, chosen at random: learning curves train on more and more of the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.records.shards import ShardedDataset


class Subset(Sequence):
    """`num_pairs` of the records of `source`, in its order.

    Which ones depends on `seed` and on the number of records only, and a smaller subset of one seed is part of each
    larger one. Nothing is copied.
    """

    def __init__(self, source: ShardedDataset, num_pairs: int, seed: int):
        """Raises UserError where the source has fewer records."""
        require(
            num_pairs <= len(source),
            "data.max_pairs",
            num_pairs,
            f"must not exceed the {len(source)} pairs of {source!r}",
            "lower it, or leave it out to train on all pairs",
        )
        self._source = source
        self.directory = source.directory
        order = np.random.default_rng(seed).permutation(len(source))
        self._indices = np.sort(order[:num_pairs])

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)} of {self._source!r}")
        return self._source[int(self._indices[index])]

    def __repr__(self) -> str:
        return f"{len(self)} pairs of {self._source!r}"
