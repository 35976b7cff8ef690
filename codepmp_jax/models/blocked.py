"""Attention a block of scores at a time in plain JAX (arXiv 2205.14135), for the CPU.

Only blocks that some query needs are computed. Rows are concatenated, and one loop runs over the needed pairs of
a block of queries and a block of keys, so that time is proportional to their number.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.models.layers import soft_cap
from codepmp_jax.models.segments import Options, Segments, branch_offsets, needed_blocks, pad_rows

DEFAULT_BLOCK = 64
_MASKED_SCORE = -1e30


def attend_blocked(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "B L H E"]:
    """As codepmp_jax.models.attention.attend; computes in float32."""
    length = query.shape[1]
    block = min(options.block or DEFAULT_BLOCK, length)
    dtype = query.dtype
    query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    query, key, value, segments = pad_rows((query, key, value, segments), block)
    options = options._replace(block=block)
    return _attend(query, key, value, segments, options)[:, :length].astype(dtype)


class _Pairs(NamedTuple):
    """The pairs of a block of queries and a block of keys to compute, the first `count` of P."""

    queries: Int[Array, " P"]
    keys: Int[Array, " P"]
    count: Int[Array, ""]


def _pairs(segments: Segments, options: Options) -> _Pairs:
    """In ascending order, so that a query's own block, in which it sees at least itself, comes last."""
    assert options.block is not None
    needed = needed_blocks(segments, options.block, options.window)
    rows, blocks, _ = needed.shape
    size = rows * blocks * (blocks + 1) // 2
    row, query, key = jnp.nonzero(needed, size=size, fill_value=0)
    return _Pairs(row * blocks + query, row * blocks + key, jnp.sum(needed))


def _split(x: Float[Array, "B L H E"], block: int, num_kv_heads: int) -> Float[Array, "N K R E"]:
    """Blocks of all rows; R is the block's tokens for each of a kv head's query heads."""
    head_dim = x.shape[-1]
    x = x.reshape(-1, block, num_kv_heads, x.shape[2] // num_kv_heads, head_dim)
    return x.transpose(0, 2, 3, 1, 4).reshape(x.shape[0], num_kv_heads, -1, head_dim)


def _join(x: Float[Array, "N K R E"], rows: int, block: int) -> Float[Array, "B L H E"]:
    """The inverse of _split."""
    blocks, kv_heads, _, head_dim = x.shape
    x = x.reshape(blocks, kv_heads, -1, block, head_dim).transpose(0, 3, 1, 2, 4)
    return x.reshape(rows, blocks // rows * block, -1, head_dim)


def _at(x: Array, index: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(x, index, keepdims=False)


def _put(x: Array, new: Array, index: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(x, new, index, 0)


class _Blocks(NamedTuple):
    """Segments and branches of every block's tokens, for `_seen`."""

    ids: Int[Array, "N block"]
    branches: Int[Array, "N block"] | None
    hidden: Int[Array, "N block"] | None
    """BranchOffsets.hidden, if there are branches and a window."""


def _blocks(segments: Segments, options: Options) -> _Blocks:
    needs_hidden = segments.branches is not None and options.window is not None
    blocks = _Blocks(*segments, branch_offsets(segments).hidden if needs_hidden else None)
    return jax.tree.map(lambda x: x.reshape(-1, options.block), blocks)


def _seen(
    blocks: _Blocks, query: Array, key: Array, window: int | None
) -> Bool[Array, "block block"]:
    """segments.visible for one pair of blocks."""
    ids, branches, hidden = blocks
    block = ids.shape[1]
    places = jnp.arange(block)
    seen = query * block + places[:, None] >= key * block + places[None, :]
    seen = seen & (_at(ids, query)[:, None] == _at(ids, key)[None, :])
    if branches is not None:
        of_queries, of_keys = _at(branches, query)[:, None], _at(branches, key)[None, :]
        seen = seen & ((of_keys == 0) | (of_keys == of_queries))
    if window is not None:
        distances = (query - key) * block + places[:, None] - places[None, :]
        if branches is not None and hidden is not None:
            shared = (_at(branches, key) == 0)[None, :]
            distances = distances - jnp.where(shared, _at(hidden, query)[:, None], 0)
        seen = seen & (distances < window)
    return seen


def _scores(
    query: Float[Array, "K R E"],
    key: Float[Array, "K block E"],
    seen: Bool[Array, "block block"],
    cap: float | None,
) -> Float[Array, "K R block"]:
    scores = soft_cap(jnp.einsum("kre,kte->krt", query, key), cap)
    kv_heads, _, block = scores.shape
    scores = jnp.where(seen, scores.reshape(kv_heads, -1, block, block), _MASKED_SCORE)
    return scores.reshape(kv_heads, -1, block)


def _output(query: Array, key: Array, value: Array, segments: Segments, options: Options) -> Array:
    return _forward(query, key, value, segments, options)[0]


def _forward(query: Array, key: Array, value: Array, segments: Segments, options: Options):
    block, rows, kv_heads = options.block, len(query), key.shape[2]
    assert block is not None
    queries = _split(query * options.scale, block, kv_heads)
    keys, values = _split(key, block, kv_heads), _split(value, block, kv_heads)
    pairs, blocks = _pairs(segments, options), _blocks(segments, options)

    def step(pair: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        outputs, peaks, sums = state
        i, j = pairs.queries[pair], pairs.keys[pair]
        seen = _seen(blocks, i, j, options.window)
        scores = _scores(_at(queries, i), _at(keys, j), seen, options.soft_cap)
        old_peak = _at(peaks, i)
        peak = jnp.maximum(old_peak, scores.max(axis=-1))
        weights = jnp.exp(scores - peak[..., None])
        shrink = jnp.exp(old_peak - peak)
        total = shrink * _at(sums, i) + weights.sum(axis=-1)
        output = shrink[..., None] * _at(outputs, i)
        output = output + jnp.einsum("krt,kte->kre", weights, _at(values, j))
        return _put(outputs, output, i), _put(peaks, peak, i), _put(sums, total, i)

    zeros = jnp.zeros(queries.shape[:-1])
    state = (jnp.zeros_like(queries), zeros + _MASKED_SCORE, zeros)
    outputs, peaks, sums = jax.lax.fori_loop(0, pairs.count, step, state)
    output = checkpoint_name(_join(outputs / sums[..., None], rows, block), "attention")
    log_sums = checkpoint_name(peaks + jnp.log(sums), "attention")
    return output, (query, key, value, segments, output, log_sums)


def _backward(options: Options, residuals: tuple, gradient: Array):
    query, key, value, segments, output, log_sums = residuals
    block, rows, kv_heads = options.block, len(query), key.shape[2]
    assert block is not None
    queries = _split(query * options.scale, block, kv_heads)
    keys, values = _split(key, block, kv_heads), _split(value, block, kv_heads)
    gradients = _split(gradient, block, kv_heads)
    products = jnp.sum(gradients * _split(output, block, kv_heads), axis=-1)
    pairs, blocks = _pairs(segments, options), _blocks(segments, options)

    def step(pair: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        of_queries, of_keys, of_values = state
        i, j = pairs.queries[pair], pairs.keys[pair]
        query, key, gradient = _at(queries, i), _at(keys, j), _at(gradients, i)
        scores = _scores(query, key, _seen(blocks, i, j, options.window), options.soft_cap)
        weights = jnp.exp(scores - _at(log_sums, i)[..., None])
        of_weights = jnp.einsum("kre,kte->krt", gradient, _at(values, j))
        of_scores = weights * (of_weights - _at(products, i)[..., None])
        if options.soft_cap is not None:
            # The derivative of tanh is 1 - tanh^2; for masked scores it is 0, as at the cap.
            capped = jnp.maximum(scores / options.soft_cap, -1.0)
            of_scores = of_scores * (1 - capped * capped)
        of_query = _at(of_queries, i) + jnp.einsum("krt,kte->kre", of_scores, key)
        of_key = _at(of_keys, j) + jnp.einsum("krt,kre->kte", of_scores, query)
        of_value = _at(of_values, j) + jnp.einsum("krt,kre->kte", weights, gradient)
        return _put(of_queries, of_query, i), _put(of_keys, of_key, j), _put(of_values, of_value, j)

    state = (jnp.zeros_like(queries), jnp.zeros_like(keys), jnp.zeros_like(values))
    of_queries, of_keys, of_values = jax.lax.fori_loop(0, pairs.count, step, state)
    of_query = _join(of_queries, rows, block) * options.scale
    return of_query, _join(of_keys, rows, block), _join(of_values, rows, block), None


_attend = jax.custom_vjp(_output, nondiff_argnums=(4,))
_attend.defvjp(_forward, _backward)
