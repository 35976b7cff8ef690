"""Batches on the devices, one ahead of the step."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codepmp_jax.data.batch import Batch
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.loader import Loader
from codepmp_jax.devices import sharding


def to_devices(batch: Batch, mesh: Mesh) -> Batch:
    """This host's rows as its part of the global batch; copies run in the background."""
    return jax.tree.map(lambda array: _place(array, mesh), batch)


def _place(array: np.ndarray, mesh: Mesh) -> jax.Array:
    # The whole shape, so that a mesh on which hosts would share their rows is an error.
    shape = (jax.process_count() * len(array), *array.shape[1:])
    return jax.make_array_from_process_local_data(sharding.batch_sharding(mesh), array, shape)


def rows_of_all_hosts(array: np.ndarray, mesh: Mesh) -> np.ndarray:
    """The rows of all hosts, in the order that they have in a global batch. All hosts must call it."""
    copied = jax.jit(lambda whole: whole, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return np.asarray(copied(_place(array, mesh)))


class FetchedBatch(NamedTuple):
    """A batch's data state, counts and ids on this host."""

    data_state: list[dict[str, Any]]
    """State of the loader after the batch."""
    counts: dict[str, int]
    record_ids: list[str]
    """Of the records in its rows, item by item."""
    refused: list[Dropped]
    """Records that were refused on the way to it."""
    waited: float
    """Seconds that it waited for the loader."""


class Feed:
    """Takes batches from the loader and starts their way to the devices while the step before runs."""

    def __init__(self, loader: Loader, mesh: Mesh):
        self._loader = loader
        self._mesh = mesh
        self._next: tuple[Batch, FetchedBatch] | None = None

    def take(self) -> tuple[Batch, FetchedBatch]:
        """The next batch, on the devices."""
        fetched = self._fetch() if self._next is None else self._next
        self._next = None
        return fetched

    def prefetch(self) -> None:
        """Gets the batch after; call it once the step is on its way."""
        self._next = self._fetch()

    def _fetch(self) -> tuple[Batch, FetchedBatch]:
        loader = self._loader
        started = time.perf_counter()
        batch = next(loader)
        waited = time.perf_counter() - started
        fetched = FetchedBatch(
            loader.state(), loader.counts, loader.last_record_ids, loader.last_refused, waited
        )
        return to_devices(batch, self._mesh), fetched
