from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import MeshConfig, TrainConfig
from codepmp_jax.config.presets import load_preset
from codepmp_jax.devices import sharding
from tests.training.reference import tiny_config


@pytest.mark.parametrize(
    ("mesh", "devices", "expected"),
    [
        (MeshConfig(), 8, (1, 8, 1)),
        (MeshConfig(data=-1, fsdp=2, tensor=2), 8, (2, 2, 2)),
        (MeshConfig(data=2, fsdp=2, tensor=2), 8, (2, 2, 2)),
        (MeshConfig(data=1, fsdp=32, tensor=1), 32, (1, 32, 1)),
    ],
)
def test_mesh_sizes(mesh, devices, expected):
    assert sharding.mesh_sizes(mesh, devices) == expected


@pytest.mark.parametrize(
    ("mesh", "devices"),
    [
        (MeshConfig(tensor=3), 8),
        (MeshConfig(data=2, fsdp=2, tensor=1), 8),
        (MeshConfig(data=16), 8),
    ],
)
def test_impossible_meshes_are_named(mesh, devices):
    with pytest.raises(UserError, match=r"mesh .* number of devices, 8"):
        sharding.mesh_sizes(mesh, devices)


def check(config: TrainConfig, num_devices: int) -> tuple[int, int, int]:
    part_rows = config.global_batch_rows // config.accumulation_steps
    return sharding.check_mesh(config.mesh, config.model, num_devices, part_rows=part_rows)


@pytest.mark.parametrize(
    ("change", "devices", "named"),
    [
        ({"mesh": MeshConfig(fsdp=1, tensor=4)}, 4, "model.num_kv_heads = 2"),
        ({"mesh": MeshConfig(fsdp=3)}, 3, "model.embed_dim = 32"),
        ({"mesh": MeshConfig(fsdp=8), "accumulation_steps": 2}, 8, "accumulation_steps = 4"),
        ({"mesh": MeshConfig(fsdp=16), "model__mlp_dim": 40}, 16, "model.mlp_dim = 40"),
    ],
)
def test_models_and_batches_that_do_not_divide_are_named(change, devices, named):
    with pytest.raises(UserError, match="divisible") as raised:
        check(tiny_config(**change), devices)
    assert named in str(raised.value)


@pytest.mark.parametrize(
    ("preset", "devices", "expected"),
    [("pmp_1b5", 64, (8, 8, 1)), ("pmp_7b", 16, (1, 16, 1)), ("pmp_7b", 256, (16, 16, 1))],
)
def test_presets_divide_over_slices(preset, devices, expected):
    assert check(load_preset(preset), devices) == expected


def test_slices_hold_copies_of_the_model():
    model = tiny_config().model
    assert sharding.check_mesh(MeshConfig(data=2, fsdp=4), model, 8, num_slices=2) == (2, 4, 1)
    with pytest.raises(UserError, match=r"mesh.data = 1: must be divisible by .*slices \(2\)"):
        sharding.check_mesh(MeshConfig(fsdp=8), model, 8, num_slices=2)


def test_the_devices_of_a_batch():
    assert sharding.axis_devices("batch") == 1
    with jax.set_mesh(sharding.make_mesh((2, 2, 2))):
        assert [sharding.axis_devices(axis) for axis in ("batch", "mlp", "length")] == [4, 2, 1]


def test_logical_axes_become_mesh_axes():
    spec = sharding.partition_spec(("layers", "embed", "kv_heads", None))
    assert spec == PartitionSpec(None, "fsdp", "tensor", None)
    with pytest.raises(KeyError):
        sharding.partition_spec(("embd",))


def test_constrain_places_only_on_a_mesh():
    array = jnp.zeros((8, 4))
    assert sharding.constrain(array, "batch", None) is array
    mesh = sharding.make_mesh((2, 4, 1))
    with jax.set_mesh(mesh):
        placed = jax.jit(lambda x: sharding.constrain(x, "batch", None))(array)
    assert placed.addressable_shards[0].data.shape == (1, 4)
