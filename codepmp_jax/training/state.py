"""What one training step hands to the next: step, parameters, optimizer state, with their shardings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codepmp_jax.config import TrainConfig
from codepmp_jax.devices.sharding import param_shardings
from codepmp_jax.models.lora import only_adapters, without_adapters
from codepmp_jax.models.preference import Params, abstract_params, init_params, with_changed
from codepmp_jax.training import objectives


class TrainState(NamedTuple):
    """Parameters and optimizer state after `step` optimizer steps; all float32 but the counts, and frozen parameters
    in lora.base_dtype."""

    step: Any
    params: Params
    opt_state: Any
    """Of the trained parameters."""


def trained(params: Params, config: TrainConfig) -> Params:
    """The parameters that the run trains; no gradient, update, decay or optimizer state is the others'.

    All but the heads that the objective does not use. With LoRA, of these the adapters, the score head and the
    objective's own heads.
    """
    unused = objectives.build(config).unused_heads
    if config.lora.is_on:
        unused |= {"lm_head"}
    kept = {name: leaf for name, leaf in params.items() if name not in unused}
    heads = {name: leaf for name, leaf in kept.pop("heads", {}).items() if name not in unused}
    if config.lora.is_on:
        kept["decoder"] = only_adapters(kept["decoder"])
    return kept | ({"heads": heads} if heads else {})


def frozen(params: Params, config: TrainConfig) -> Params:
    """The parameters that are not trained."""
    return _lacking(params, trained(params, config))


def in_dtype(params: Params, dtype: str) -> Params:
    """Matrices, biases and adapters in `dtype`.

    Norm scales, the score head and other heads but the LM head, which are small, stay as they are.
    """

    def lower(path: tuple, leaf: Any) -> Any:
        names = [key.key for key in path]
        keep = names[-1] == "scale" or names[0] in ("score", "heads")
        return leaf if keep else leaf.astype(dtype)

    return jax.tree_util.tree_map_with_path(lower, params)


def stored(params: Params, config: TrainConfig) -> Params:
    """The parameters in the dtypes that the run keeps them in: frozen ones in lora.base_dtype."""
    if not config.lora.is_on:
        return params
    return with_changed(in_dtype(params, config.lora.base_dtype), trained(params, config))


def abstract_state(
    config: TrainConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is allocated."""
    _, shapes, axes = abstract_params(config.model, config.lora)
    shapes = jax.eval_shape(lambda params: stored(params, config), shapes)
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


def add_new(params: Params, config: TrainConfig, shardings: Params) -> Params:
    """`params` with the heads of model.heads and the adapters that they lack, drawn as in init_params."""
    new = _lacking(shardings, params)
    if not new:
        return params

    def draw() -> Params:
        return _like(init_params(config.model, config.seed, config.lora), new)

    return with_changed(params, jax.jit(draw, out_shardings=new)())


def _lacking(wanted: Params, held: Params) -> Params:
    """What of a tree another one lacks."""
    found = {}
    for name, node in wanted.items():
        if name not in held:
            found[name] = node
        elif isinstance(node, dict) and (inner := _lacking(node, held[name])):
            found[name] = inner
    return found


def _like(params: Params, tree: Params) -> Params:
    """The part of the parameters that a tree has."""
    return {
        name: _like(params[name], node) if isinstance(node, dict) else params[name]
        for name, node in tree.items()
    }


def init_state(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    load_params: Callable[[Params], Params] | None = None,
) -> TrainState:
    """The state before the first step, created where it belongs on the mesh.

    `load_params`, given the abstract parameters without adapters, with their shardings and dtypes, returns them filled,
    but for heads of model.heads that its source lacks; without it they are drawn at random from config.seed.
    """
    abstract = abstract_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    if load_params is None:

        def draw() -> Params:
            return stored(init_params(config.model, config.seed, config.lora), config)

        params = jax.jit(draw, out_shardings=shardings.params)()
    else:
        params = load_params(without_adapters(abstract.params))
        params = add_new(params, config, shardings.params)
    init = jax.jit(optimizer.init, out_shardings=shardings.opt_state)
    opt_state = init(trained(params, config))
    step = jax.device_put(jnp.zeros((), jnp.int32), shardings.step)
    return TrainState(step, params, opt_state)
