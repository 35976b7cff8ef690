"""Attention on TPU by kernels of our own for rows of several texts (flash_kernels.py).

Next to splash: one form of mask for all layouts and windows, one backward kernel, whose five matmuls are those that
there are, and grids that both cores of a TPU v4 or v5p share.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.models import flash_kernels
from codepmp_jax.models.flash_kernels import LANES, Shape
from codepmp_jax.models.segments import Options, Segments, pad_rows, seen_blocks, spans
from codepmp_jax.models.splash import attend_splash

DEFAULT_BLOCK = 256
# Queries whose products with keys are scores in units of base 2, which the kernels take, are scaled by this.
BASE_2 = math.log2(math.e)
# Of fast memory; libtpu's own limit for a kernel is 16 MiB, of which the compiler takes some.
_MAX_BYTES = 15 * 2**20


def attend_flash(
    query: Float[Array, "H B L E"],
    key: Float[Array, "K B L E"],
    value: Float[Array, "K B L E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "H B L E"]:
    """As codepmp_jax.models.attention.attend, heads first. Blocks of scores have `options.block` queries, a multiple of
    128, and half as many keys, at least 128; rows are padded to blocks of queries.

    A row's keys, values and their gradients lie in the fast memory together. Rows for which it is too small, those of
    more than some 5000 tokens with heads of 128, are left to splash.
    """
    num_heads, rows, length, head_dim = query.shape
    shape = shape_of(rows, length, num_heads, len(key), head_dim, options)
    if not fits(shape, query.dtype.itemsize):
        return attend_splash(query, key, value, segments, options)
    scale = options.scale * BASE_2
    if not math.isclose(scale, 1):
        # In float32, since bfloat16 would round the scale by up to 0.4 %.
        query = (query.astype(jnp.float32) * scale).astype(query.dtype)
    query, key, value = (pad_rows(x, shape.queries, axis=2) for x in (query, key, value))
    segments = pad_rows(segments, shape.queries)
    intervals = spans(segments, options.window)
    blocks = _in_order(seen_blocks(intervals, shape.queries, shape.keys))
    dims = intervals if segments.branches is not None else intervals[:2]
    query = query.reshape(shape.kv_heads, shape.group, rows, shape.length, head_dim)
    output = _attend(shape, query, key, value, jnp.stack(dims, axis=1), blocks)
    return output.reshape(num_heads, rows, shape.length, head_dim)[:, :, :length]


def shape_of(
    rows: int, length: int, num_heads: int, num_kv_heads: int, head_dim: int, options: Options
) -> Shape:
    """Of the kernels' call for rows of `length` tokens before they are padded."""
    queries = min(options.block or DEFAULT_BLOCK, length)
    queries += -queries % LANES
    return Shape(
        rows=rows,
        length=length + -length % queries,
        kv_heads=num_kv_heads,
        group=num_heads // num_kv_heads,
        head_dim=head_dim,
        queries=queries,
        keys=queries // 2 if queries % (2 * LANES) == 0 else LANES,
        soft_cap=None if options.soft_cap is None else options.soft_cap * BASE_2,
        interpret=options.interpret,
    )


def fits(shape: Shape, itemsize: int = 2) -> bool:
    """Whether the kernels have enough fast memory for arrays of so many bytes a number."""
    return shape.vmem_bytes(itemsize) <= _MAX_BYTES


def _in_order(needed: Bool[Array, "B Q T"]) -> tuple[Int[Array, " N"], Int[Array, " M"]]:
    """The numbers of the blocks that are needed, from the first on, and how many they are; for each block of queries."""
    places = jnp.cumsum(needed, axis=-1) - 1
    numbers = jnp.arange(needed.shape[-1], dtype=jnp.int32)
    is_at = needed[..., None] & (places[..., None] == numbers)
    in_order = jnp.sum(jnp.where(is_at, numbers[:, None], 0), axis=-2)
    counts = jnp.sum(needed, axis=-1, dtype=jnp.int32)
    return in_order.reshape(-1), counts.reshape(-1)


def _output(shape: Shape, *arrays: Any) -> Array:
    return _forward(shape, *arrays)[0]


def _forward(
    shape: Shape, query: Array, key: Array, value: Array, spans: Array, blocks: tuple[Array, Array]
) -> tuple[Array, tuple]:
    arrays = query, key, value, spans
    output, log_sums = (
        checkpoint_name(x, "attention") for x in flash_kernels.forward(shape, blocks, *arrays)
    )
    return output, (blocks, *arrays, output, log_sums)


def _backward(shape: Shape, residuals: tuple, gradient: Array) -> tuple:
    *before, output, log_sums = residuals
    products = jnp.sum(gradient.astype(jnp.float32) * output.astype(jnp.float32), axis=-1)
    # (K, G, B, L), in the order of the sums.
    products = products.transpose(0, 2, 1, 3).reshape(log_sums.shape)
    gradients = flash_kernels.backward(shape, *before, gradient, log_sums, products)
    return (*gradients, None, None)


_attend = jax.custom_vjp(_output, nondiff_argnums=(0,))
_attend.defvjp(_forward, _backward)
