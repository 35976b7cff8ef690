"""What one training step hands to the next: step, parameters, optimizer state, with their shardings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codepmp_jax.config import ModelConfig, TrainConfig
from codepmp_jax.devices.sharding import param_shardings
from codepmp_jax.models.preference import Params, abstract_params, init_params
from codepmp_jax.training import objectives


class TrainState(NamedTuple):
    """Parameters and optimizer state after `step` optimizer steps; all float32 but the counts."""

    step: Any
    params: Params
    opt_state: Any
    """Of the trained parameters."""


def trained(params: Params, config: TrainConfig) -> Params:
    """The parameters without the heads that the objective does not use: no gradient, update, decay or optimizer
    state is theirs."""
    unused = objectives.build(config).unused_heads
    kept = {name: leaf for name, leaf in params.items() if name not in unused}
    heads = {name: leaf for name, leaf in kept.pop("heads", {}).items() if name not in unused}
    return kept | ({"heads": heads} if heads else {})


def with_trained(params: Params, changed: Params) -> Params:
    """All parameters, of which `changed` are the trained ones."""
    heads = params.get("heads", {}) | changed.get("heads", {})
    return params | changed | ({"heads": heads} if heads else {})


def abstract_state(
    config: TrainConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is allocated."""
    _, shapes, axes = abstract_params(config.model)
    replicated = NamedSharding(mesh, PartitionSpec())
    shardings = param_shardings(axes, mesh)

    def place(shape: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    opt_state = optax.tree_map_params(
        optimizer,
        place,
        jax.eval_shape(optimizer.init, trained(shapes, config)),
        trained(shardings, config),
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
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    load_params: Callable[[Params], Params] | None = None,
) -> TrainState:
    """The state before the first step, created where it belongs on the mesh.

    `load_params`, given the abstract parameters with their shardings, returns them filled, but for heads of
    model.heads that its source lacks; without it they are drawn at random from config.seed.
    """
    model, seed = config.model, config.seed
    abstract = abstract_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    if load_params is None:
        params = jax.jit(lambda: init_params(model, seed), out_shardings=shardings.params)()
    else:
        params = load_params(abstract.params)
        params = add_new_heads(params, model, seed, shardings.params)
    init = jax.jit(optimizer.init, out_shardings=shardings.opt_state)
    opt_state = init(trained(params, config))
    step = jax.device_put(jnp.zeros((), jnp.int32), shardings.step)
    return TrainState(step, params, opt_state)
