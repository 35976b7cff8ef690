"""Adapters on the matrices of a decoder's layers (config.LoraConfig), and trees of parameters with and without them.

An adapter's parameters are `a` and `b` of a `lora` beside the `kernel` that it adapts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from codepmp_jax.cli.errors import require
from codepmp_jax.config import LoraConfig
from codepmp_jax.families.weights import LAYER_KERNELS
from codepmp_jax.models.decoder import Decoder
from codepmp_jax.models.layers import Adapter

_NAME = "lora"


def add_adapters(decoder: Decoder, lora: LoraConfig, rngs: nnx.Rngs) -> None:
    """Gives the target matrices of every layer an adapter.

    Raises UserError where the rank exceeds a dim of one of them.
    """
    layers = decoder.config.num_layers
    for weight in LAYER_KERNELS:
        if weight.module not in lora.modules:
            continue
        names = weight.path.removeprefix("decoder/layers/").removesuffix("/kernel").split("/")
        projection: Any = functools.reduce(getattr, names, decoder.layers)
        # The kernels of all layers are stacked.
        shape, axes = projection.kernel.shape[1:], projection.kernel.axes
        smaller = min(shape[0], math.prod(shape[1:]))
        require(
            lora.rank <= smaller,
            "lora.rank",
            lora.rank,
            f"must not exceed the smaller dim of {weight.module} ({smaller})",
            f"give {smaller} or less",
        )

        make = functools.partial(Adapter, shape=shape, axes=axes, rank=lora.rank, scale=lora.scale)
        stack = nnx.split_rngs(splits=layers)(nnx.vmap(make, in_axes=(0,), out_axes=0))
        projection.lora = nnx.data(stack(rngs))


def only_adapters(tree: dict[str, Any]) -> dict[str, Any]:
    """The adapters of a tree of parameters, and nothing else."""
    kept = {}
    for name, node in tree.items():
        if name == _NAME:
            kept[name] = node
        elif isinstance(node, dict) and (inner := only_adapters(node)):
            kept[name] = inner
    return kept


def adapted(params: dict[str, Any], join: Callable[[Any, dict[str, Any]], Any]) -> dict[str, Any]:
    """The parameters without adapters, where `join`(kernel, its adapter) stands for each kernel that has one."""

    def visit(node: dict[str, Any]) -> dict[str, Any]:
        kept = {
            name: visit(child) if isinstance(child, dict) else child
            for name, child in node.items()
            if name != _NAME
        }
        return kept | ({"kernel": join(kept["kernel"], node[_NAME])} if _NAME in node else {})

    return params | {"decoder": visit(params["decoder"])}


def without_adapters(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters without the adapters."""
    return adapted(params, lambda kernel, adapter: kernel)


def merged(params: dict[str, Any], lora: LoraConfig) -> dict[str, Any]:
    """The parameters of the model without adapters that computes the same: each W becomes W + A @ B * scale, in
    float32."""

    def add(kernel: Array, adapter: dict[str, Array]) -> Array:
        a, b = (adapter[name].astype(jnp.float32) for name in ("a", "b"))
        rows = b.reshape(*b.shape[:2], -1)
        change = jnp.einsum("Lir,Lro->Lio", a, rows, precision="highest") * lora.scale
        return kernel.astype(jnp.float32) + change.reshape(kernel.shape)

    return adapted(params, add)
