"""Batches on the devices, one ahead of the step."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from codepmp_jax import sharding
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.loader import PairLoader


def to_devices(batch: Batch, mesh: Mesh) -> Batch:
    """This host's rows as its part of the global batch; the copies go on in the background."""
    layout = sharding.batch_sharding(mesh)

    def place(array: np.ndarray) -> jax.Array:
        # The whole shape, so that a mesh on which hosts would share their rows is an error.
        shape = (jax.process_count() * len(array), *array.shape[1:])
        return jax.make_array_from_process_local_data(layout, array, shape)

    return jax.tree.map(place, batch)


class Fed(NamedTuple):
    """A batch on the devices, and where this host's loader stands behind it."""

    batch: Batch
    data_state: list[dict[str, Any]]
    counts: dict[str, int]
    waited: float
    """Seconds that this host waited for the loader."""


class Feed:
    """Takes batches from the loader and starts their way to the devices while the step before runs."""

    def __init__(self, loader: PairLoader, mesh: Mesh):
        self._loader = loader
        self._mesh = mesh
        self._next: Fed | None = None

    def take(self) -> Fed:
        """The next batch."""
        fed = self._fetch() if self._next is None else self._next
        self._next = None
        return fed

    def prefetch(self) -> None:
        """Gets the batch after; call it once the step is on its way."""
        self._next = self._fetch()

    def _fetch(self) -> Fed:
        started = time.perf_counter()
        batch = next(self._loader)
        waited = time.perf_counter() - started
        placed = to_devices(batch, self._mesh)
        return Fed(placed, self._loader.state(), self._loader.counts, waited)
