"""Meshes over slices that are described by name."""

from __future__ import annotations

import os

import pytest

from codepmp_jax.aot import topology
from codepmp_jax.cli.errors import UserError
from codepmp_jax.devices import sharding


def test_hosts_that_would_share_rows_are_refused():
    """A v5e host has 2 x 2 chips: four in a line of the slice are those of two hosts."""
    _, devices = topology.describe("v5e:4x4")
    assert sharding.make_mesh((1, 8, 2), devices).shape == {"data": 1, "fsdp": 8, "tensor": 2}
    with pytest.raises(UserError, match=r"mesh.tensor = 4: .*2 hosts would share rows"):
        sharding.make_mesh((1, 4, 4), devices)


def test_libtpu_takes_the_flags_of_a_pod():
    """It ends a process that gives it one that it does not know."""
    topology.describe("v6e:2x2")
    assert "--megascale_grpc_premap_memory_bytes=" in os.environ["LIBTPU_INIT_ARGS"]
