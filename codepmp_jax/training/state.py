"""What one training step hands to the next: step, parameters, optimizer state, with their shardings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import param_shardings
from codepmp_jax.models.preference import Params, abstract_params, init_params


class TrainState(NamedTuple):
    """Parameters and optimizer state after `step` optimizer steps; all float32 but the counts."""

    step: Any
    params: Params
    opt_state: Any


def abstract_state(
    config: ModelConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is allocated."""
    _, shapes, axes = abstract_params(config)
    replicated = NamedSharding(mesh, PartitionSpec())
    shardings = param_shardings(axes, mesh)

    def place(shape: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    opt_state = optax.tree_map_params(
        optimizer,
        place,
        jax.eval_shape(optimizer.init, shapes),
        shardings,
        transform_non_params=lambda shape: place(shape, replicated),
    )
    step = place(jax.ShapeDtypeStruct((), jnp.int32), replicated)
    return TrainState(step, jax.tree.map(place, shapes, shardings), opt_state)


def add_new_heads(params: Params, config: ModelConfig, seed: int, shardings: Params) -> Params:
    """`params` with the heads of config.heads that they lack, drawn as in init_params."""
    wanted, held = dict(shardings.get("heads", {})), params.get("heads", {})
    new = {name: wanted[name] for name in wanted.keys() - held.keys()}
    if not new:
        return params

    def draw() -> Params:
        heads = init_params(config, seed)["heads"]
        return {name: heads[name] for name in new}

    return params | {"heads": held | jax.jit(draw, out_shardings=new)()}


def init_state(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    load_params: Callable[[Params], Params] | None = None,
) -> TrainState:
    """The state before the first step, created where it belongs on the mesh.

    `load_params`, given the abstract parameters with their shardings, returns them filled, but for heads of
    config.heads that its source lacks; without it they are drawn at random from `seed`.
    """
    abstract = abstract_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    if load_params is None:
        params = jax.jit(lambda: init_params(config, seed), out_shardings=shardings.params)()
    else:
        params = load_params(abstract.params)
        params = add_new_heads(params, config, seed, shardings.params)
    opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
    step = jax.device_put(jnp.zeros((), jnp.int32), shardings.step)
    return TrainState(step, params, opt_state)
