"""The mesh, and how logical axes of arrays map onto it.

Arrays name their dims by logical axes (`embed`, `heads`, ...); RULES says which mesh axis shards each.
Everything that is a matter of arithmetic is checked before any device work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from codepmp_jax.cli.errors import require
from codepmp_jax.config import MeshConfig, ModelConfig

MESH_AXES = ("data", "fsdp", "tensor")

# fsdp shards every matrix along its major dim, of which a device's shard is one piece of memory: on TPUs
# shards along a minor dim cost a copy at each gather. `..._rows` are the major dims that tensor shards too.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": None,
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "mlp": "tensor",
    "vocab": "tensor",
    "heads_rows": ("tensor", "fsdp"),
    "mlp_rows": ("tensor", "fsdp"),
    "vocab_rows": ("tensor", "fsdp"),
    "layers": None,
}


def partition_spec(axes: Sequence[str | None]) -> PartitionSpec:
    """The PartitionSpec of an array whose dims have these logical axes; None is replicated."""
    return PartitionSpec(*(RULES[axis] if axis is not None else None for axis in axes))


def mesh_sizes(config: MeshConfig, num_devices: int) -> tuple[int, int, int]:
    """Devices along (data, fsdp, tensor). Raises UserError where they do not multiply to num_devices."""
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = 1
    for size in sizes:
        fixed *= size if size != -1 else 1
    if -1 in sizes and num_devices % fixed == 0:
        sizes[sizes.index(-1)] = num_devices // fixed
        fixed = num_devices
    require(
        fixed == num_devices,
        "mesh (data, fsdp, tensor)",
        (config.data, config.fsdp, config.tensor),
        f"must multiply to the number of devices, {num_devices}",
        "set one of them to -1, and let the others divide the number of devices",
    )
    return sizes[0], sizes[1], sizes[2]


def check_mesh(
    mesh: MeshConfig,
    model: ModelConfig,
    num_devices: int,
    num_slices: int = 1,
    *,
    part_rows: int | None = None,
) -> tuple[int, int, int]:
    """The mesh's sizes. Raises UserError where the model, or `part_rows`, cannot be divided over the mesh.

    `part_rows` are the rows computed at a time, global_batch_rows / accumulation_steps; None where the caller makes
    batches that fit the mesh.
    """
    sizes = mesh_sizes(mesh, num_devices)
    data, fsdp, tensor = sizes
    for name, size, axis, number in (
        ("model.embed_dim", model.embed_dim, "fsdp", fsdp),
        ("model.num_heads", model.num_heads, "tensor", tensor),
        ("model.num_kv_heads", model.num_kv_heads, "tensor", tensor),
        (
            "model.num_heads * model.head_dim",
            model.num_heads * model.head_dim,
            "fsdp * mesh.tensor",
            fsdp * tensor,
        ),
        ("model.mlp_dim", model.mlp_dim, "fsdp * mesh.tensor", fsdp * tensor),
        ("model.vocab_size", model.vocab_size, "fsdp * mesh.tensor", fsdp * tensor),
    ):
        require(
            size % number == 0,
            name,
            size,
            f"must be divisible by mesh.{axis} ({number})",
            f"lower mesh.{axis}",
        )
    require(
        part_rows is None or part_rows % (data * fsdp) == 0,
        "global_batch_rows / accumulation_steps",
        part_rows,
        f"must be divisible by mesh.data * mesh.fsdp ({data * fsdp})",
        "change the batch, the accumulation or the mesh",
    )
    require(
        data % num_slices == 0,
        "mesh.data",
        data,
        f"must be divisible by the number of slices ({num_slices}), between which only copies of the "
        "model lie",
        "set it to a multiple",
    )
    return sizes


def count_slices(devices: Sequence[Any]) -> int:
    """TPU slices among the devices; 1 of other devices."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def make_mesh(sizes: tuple[int, int, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over `devices` (all of them by default) with axes (data, fsdp, tensor).

    Neighbours on a mesh axis are neighbours in the slice's network; `data` goes across slices. Raises UserError
    where devices of several hosts would share rows of a batch, since each host reads rows of its own.
    """
    devices = jax.devices() if devices is None else devices
    slices = count_slices(devices)
    if slices == 1:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        data, fsdp, tensor = sizes
        grid = mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp, tensor),
            (slices, 1, 1),
            devices,
            allow_split_physical_axes=True,
        )
    hosts = max(len({device.process_index for device in row}) for row in grid.reshape(-1, sizes[2]))
    require(
        hosts == 1,
        "mesh.tensor",
        sizes[2],
        f"must keep the devices of a row on one host, but here {hosts} hosts would share rows",
        "lower mesh.tensor",
    )
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def param_shardings(axes: Any, mesh: Mesh) -> Any:
    """The sharding of every parameter, by its logical axes (tuples in a tree)."""
    return jax.tree.map(
        lambda names: NamedSharding(mesh, partition_spec(names)),
        axes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp."""
    return NamedSharding(mesh, partition_spec(("batch",)))


def axis_devices(axis: str) -> int:
    """How many devices of the mesh that is set share a dim with this logical axis; 1 where none is set."""
    names = RULES[axis] or ()
    shape = jax.sharding.get_abstract_mesh().shape
    return math.prod(shape.get(name, 1) for name in ((names,) if isinstance(names, str) else names))


def constrain(array: jax.Array, *axes: str | None) -> jax.Array:
    """`array` with its dims sharded by these logical axes; unchanged where no mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return array
    return jax.lax.with_sharding_constraint(array, partition_spec(axes))
