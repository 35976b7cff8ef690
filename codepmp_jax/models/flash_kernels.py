"""The kernels of codepmp_jax/models/flash.py, in Pallas for TPUs: FlashAttention (arXiv 2307.08691) over intervals of keys.

A step of the grid has a block of queries of some heads that share keys and values, and goes through the blocks of keys
that it needs. The keys and values of a row lie in the fast memory as a whole, in the backward pass their gradients too.
Scores have the keys in the rows, so that what belongs to a query lies along the lanes: maxima and sums of a query are
elementwise, intervals, maxima and sums take one number a query, and no score is ever turned around.

Exponentials are of base 2, the hardware's: queries come multiplied with log2(e).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

LANES, SUBLANES = 128, 8
# Added to scores of keys that are not seen. Where a block has none that is seen, the maximum is this, and what is summed
# up with it vanishes at the first key that is.
_MASKED = -1e30
# Heads of a step, unrolled: the exponentials of one are computed beside the matmuls of another.
_MAX_HEADS = 8
# Contractions: over the last dims of both, of rows with columns, over the first dims of both.
_LAST, _INNER, _FIRST = ((1,), (1,)), ((1,), (0,)), ((0,), (0,))


@dataclasses.dataclass(frozen=True)
class Shape:
    """Static numbers of a call."""

    rows: int
    length: int
    kv_heads: int
    group: int
    """Query heads that share keys and values."""
    head_dim: int
    queries: int
    """In a block."""
    keys: int
    """In a block."""
    soft_cap: float | None
    """In units of base 2."""
    interpret: bool

    @property
    def width(self) -> int:
        """Lanes that a head takes."""
        return self.head_dim + -self.head_dim % LANES

    @property
    def heads(self) -> int:
        """Query heads of a step of the grid."""
        most = max(1, _MAX_HEADS * LANES // self.width)
        return max(n for n in range(1, most + 1) if self.group % n == 0)

    def vmem_bytes(self, itemsize: int) -> int:
        """Of fast memory that the backward kernel needs, which needs more than the forward one: for a row's keys,
        values, and their gradients, and the sums of these in float32; for a step's queries and two arrays like them, each
        twice, and the sums of their gradients; and for numbers, which are few."""
        row = self.length * self.width * (4 * itemsize + 2 * 4)
        step = self.heads * self.queries * self.width * (6 * itemsize + 4)
        return row + step + 4 * self.queries * (self.keys + 2 * 2 * 2 * SUBLANES)

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Rows, kv heads, query heads of a group, blocks of queries."""
        return (
            self.rows,
            self.kv_heads,
            self.group // self.heads,
            self.length // self.queries,
        )

    @property
    def chains(self) -> list[tuple[int, slice]]:
        """What a step computes beside one another: heads, with the places of their queries; a single one in two parts."""
        parts = 1 if self.heads > 1 or self.queries % (2 * LANES) else 2
        width = self.queries // parts
        places = [slice(start, start + width) for start in range(0, self.queries, width)]
        return [(head, part) for head in range(self.heads) for part in places]


def _dot(left: Array, right: Array, contraction: tuple) -> Float[Array, "_ _"]:
    """In float32; of float32 in full."""
    return jax.lax.dot_general(
        left,
        right,
        (contraction, ((), ())),
        precision="highest" if left.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )


def _staggered(chains: Sequence[Any], stages: Sequence[Callable[..., tuple]]) -> None:
    """Takes every chain through the stages, each stage of one beside the stage before of the next.

    The compiler hardly moves operations past those of another chain: the order is the one in which they overlap.
    """
    between: dict[int, tuple] = {}
    for start in range(len(chains) + len(stages) - 1):
        for behind, stage in enumerate(stages):
            index = start - behind
            if 0 <= index < len(chains):
                between[index] = stage(*chains[index], *between.pop(index, ()))


def _store_mask(mask_ref: Any, spans_ref: Any, block: Array) -> None:
    """Of all heads' scores: 0 where a query sees a key of a block, otherwise what makes the score vanish."""
    keys = jax.lax.broadcasted_iota(jnp.int32, mask_ref.shape, 0) + block * mask_ref.shape[0]

    def inside(start: int) -> Array:
        # Of places before the interval the difference is a large unsigned number.
        offset = (keys - spans_ref[start : start + 1, :]).astype(jnp.uint32)
        return offset < spans_ref[start + 1 : start + 2, :].astype(jnp.uint32)

    seen = inside(0)
    if spans_ref.shape[0] > 2:
        seen = seen & ~inside(2)
    mask_ref[...] = jnp.where(seen, 0.0, _MASKED)


def _capped(scores: Array, cap: float | None) -> tuple[Array, Array | float]:
    """Scores under their cap, and the derivative."""
    if cap is None:
        return scores, 1.0
    bent = jnp.tanh(scores / cap)
    return cap * bent, 1 - bent * bent


def _for_needed_blocks(
    shape: Shape, blocks_ref: Any, counts_ref: Any, body: Callable[[Array], None]
) -> None:
    """Calls `body` with every block of keys that the step's block of queries needs."""
    step = pl.program_id(0) * (shape.length // shape.queries) + pl.program_id(3)
    first = step * (shape.length // shape.keys)
    jax.lax.fori_loop(0, counts_ref[step], lambda i, _: body(blocks_ref[first + i]), None)


def _places(shape: Shape, block: Array) -> Any:
    return pl.ds(pl.multiple_of(block * shape.keys, shape.keys), shape.keys)


def _forward_kernel(
    blocks_ref: Any,
    counts_ref: Any,
    query_ref: Any,
    key_ref: Any,
    value_ref: Any,
    spans_ref: Any,
    output_ref: Any,
    log_sums_ref: Any,
    mask_ref: Any,
    peaks_ref: Any,
    sums_ref: Any,
    outputs_ref: Any,
    *,
    shape: Shape,
) -> None:
    """Refs of heads' sums and outputs have the queries in the lanes; sums are still of every eighth key."""
    peaks_ref[...] = jnp.full_like(peaks_ref, _MASKED)
    sums_ref[...] = jnp.zeros_like(sums_ref)
    outputs_ref[...] = jnp.zeros_like(outputs_ref)

    def body(block: Array) -> None:
        at = _places(shape, block)
        _store_mask(mask_ref, spans_ref, block)

        def scores(head: int, part: slice) -> tuple:
            scores = _dot(key_ref[at, :], query_ref[head, part, :], _LAST)
            return (_capped(scores, shape.soft_cap)[0] + mask_ref[:, part],)

        def weights(head: int, part: slice, scores: Array) -> tuple:
            old_peak = peaks_ref[head, :, part]
            peak = jnp.maximum(old_peak, jnp.max(scores, axis=0, keepdims=True))
            weights = jnp.exp2(scores - peak)
            shrink = jnp.exp2(old_peak - peak)
            peaks_ref[head, :, part] = peak
            sums = weights.reshape(-1, SUBLANES, weights.shape[1]).sum(axis=0)
            sums_ref[head, :, part] = shrink * sums_ref[head, :, part] + sums
            return weights.astype(query_ref.dtype), shrink

        def outputs(head: int, part: slice, weights: Array, shrink: Array) -> tuple:
            output = _dot(value_ref[at, :], weights, _FIRST)
            outputs_ref[head, :, part] = shrink * outputs_ref[head, :, part] + output
            return ()

        _staggered(shape.chains, (scores, weights, outputs))

    _for_needed_blocks(shape, blocks_ref, counts_ref, body)
    for head in range(shape.heads):
        sums = jnp.sum(sums_ref[head], axis=0, keepdims=True)
        log_sums_ref[head : head + 1, :] = peaks_ref[head] + jnp.log2(sums)
        output_ref[head] = (outputs_ref[head] / sums).T.astype(output_ref.dtype)


def _backward_kernel(
    blocks_ref: Any,
    counts_ref: Any,
    query_ref: Any,
    key_ref: Any,
    value_ref: Any,
    spans_ref: Any,
    gradient_ref: Any,
    log_sums_ref: Any,
    products_ref: Any,
    of_query_ref: Any,
    of_key_ref: Any,
    of_value_ref: Any,
    mask_ref: Any,
    of_queries_ref: Any,
    of_keys_ref: Any,
    of_values_ref: Any,
    *,
    shape: Shape,
) -> None:
    """`products` are those of the output and its gradient."""
    dtype = query_ref.dtype
    _, _, groups, steps = shape.grid
    group, step = pl.program_id(2), pl.program_id(3)

    @pl.when((group == 0) & (step == 0))
    def begin() -> None:
        of_keys_ref[...] = jnp.zeros_like(of_keys_ref)
        of_values_ref[...] = jnp.zeros_like(of_values_ref)

    of_queries_ref[...] = jnp.zeros_like(of_queries_ref)

    def body(block: Array) -> None:
        at = _places(shape, block)
        _store_mask(mask_ref, spans_ref, block)

        def scores(head: int, part: slice) -> tuple:
            scores = _dot(key_ref[at, :], query_ref[head, part, :], _LAST)
            of_weights = _dot(value_ref[at, :], gradient_ref[head, part, :], _LAST)
            scores, slope = _capped(scores, shape.soft_cap)
            return scores + mask_ref[:, part], slope, of_weights

        def weights(
            head: int, part: slice, scores: Array, slope: Array | float, of_weights: Array
        ) -> tuple:
            log_sums, products = (
                ref[head : head + 1, part] for ref in (log_sums_ref, products_ref)
            )
            weights = jnp.exp2(scores - log_sums)
            of_scores = weights * (of_weights - products)
            if shape.soft_cap is not None:
                of_scores = of_scores * slope
            return weights.astype(dtype), of_scores.astype(dtype)

        def gradients(head: int, part: slice, weights: Array, of_scores: Array) -> tuple:
            of_values_ref[at, :] += _dot(weights, gradient_ref[head, part, :], _INNER)
            of_keys_ref[at, :] += _dot(of_scores, query_ref[head, part, :], _INNER)
            of_queries_ref[head, :, part] += _dot(key_ref[at, :], of_scores, _FIRST)
            return ()

        _staggered(shape.chains, (scores, weights, gradients))

    _for_needed_blocks(shape, blocks_ref, counts_ref, body)
    # The derivative of a power of 2.
    slope = np.log(2).astype(np.float32)
    for head in range(shape.heads):
        of_query_ref[head] = (of_queries_ref[head] * slope).T.astype(dtype)

    @pl.when((group == groups - 1) & (step == steps - 1))
    def end() -> None:
        of_key_ref[...] = (of_keys_ref[...] * slope).astype(dtype)
        of_value_ref[...] = of_values_ref[...].astype(dtype)


# A jitted function whose results are not used is left out of what is computed again, a kernel by itself never is.
@functools.partial(jax.jit, static_argnums=0)
def forward(
    shape: Shape,
    blocks: tuple[Int[Array, " N"], Int[Array, " M"]],
    query: Float[Array, "K G B L E"],
    key: Float[Array, "K B L E"],
    value: Float[Array, "K B L E"],
    spans: Int[Array, "B _ L"],
) -> tuple[Float[Array, "K G B L E"], Float[Array, "K B S g L"]]:
    """The output, and every query's logarithm to base 2 of the sum of 2^score over what it sees.

    `blocks` are the numbers of the blocks of keys that each block of queries needs, row by row, with room for all of
    them, and how many each needs. `spans` are the dims of segments.Spans, or only the first two where nothing is hidden.
    """
    of_queries, of_keys, of_numbers, of_spans = _specs(shape, spans)
    heads, queries = shape.heads, shape.queries
    numbers = (shape.kv_heads, shape.rows, shape.group // heads, heads, shape.length)
    return _call(
        _forward_kernel,
        "flash_forward",
        shape,
        blocks,
        [(query, of_queries), (key, of_keys), (value, of_keys), (spans, of_spans)],
        [
            (jax.ShapeDtypeStruct(query.shape, query.dtype), of_queries),
            (jax.ShapeDtypeStruct(numbers, jnp.float32), of_numbers),
        ],
        [
            (shape.keys, queries),
            (heads, 1, queries),
            (heads, SUBLANES, queries),
            (heads, shape.head_dim, queries),
        ],
        # Each of them writes outputs of its own.
        ("parallel",) * 4,
    )


@functools.partial(jax.jit, static_argnums=0)
def backward(
    shape: Shape,
    blocks: tuple[Int[Array, " N"], Int[Array, " M"]],
    query: Float[Array, "K G B L E"],
    key: Float[Array, "K B L E"],
    value: Float[Array, "K B L E"],
    spans: Int[Array, "B _ L"],
    gradient: Float[Array, "K G B L E"],
    log_sums: Float[Array, "K B S g L"],
    products: Float[Array, "K B S g L"],
) -> tuple[Float[Array, "K G B L E"], Float[Array, "K B L E"], Float[Array, "K B L E"]]:
    """The gradients of query, key and value from that of the output; see `forward`. `products` are the output's with its
    gradient, summed over the head."""
    of_queries, of_keys, of_numbers, of_spans = _specs(shape, spans)
    row = (shape.length, shape.head_dim)
    return _call(
        _backward_kernel,
        "flash_backward",
        shape,
        blocks,
        [
            (query, of_queries),
            (key, of_keys),
            (value, of_keys),
            (spans, of_spans),
            (gradient, of_queries),
            (log_sums, of_numbers),
            (products, of_numbers),
        ],
        [
            (jax.ShapeDtypeStruct(x.shape, x.dtype), spec)
            for x, spec in ((query, of_queries), (key, of_keys), (value, of_keys))
        ],
        [
            (shape.keys, shape.queries),
            (shape.heads, shape.head_dim, shape.queries),
            row,
            row,
        ],
        # The gradients of keys and values are sums over all queries of a group of heads.
        ("parallel", "parallel", "arbitrary", "arbitrary"),
    )


def _specs(shape: Shape, spans: Array) -> tuple[Any, Any, Any, Any]:
    """Of queries and their like, keys and their like, numbers of every head's queries, and intervals."""
    heads, queries, dim = shape.heads, shape.queries, shape.head_dim
    of_queries = pl.BlockSpec(
        (None, heads, None, queries, dim),
        lambda row, kv, group, step, *_: (kv, group, row, step, 0),
    )
    # They change so seldom that a second buffer would be a waste.
    of_keys = pl.BlockSpec(
        (None, None, shape.length, dim),
        lambda row, kv, group, step, *_: (kv, row, 0, 0),
        pipeline_mode=pl.Buffered(1),
    )
    of_numbers = pl.BlockSpec(
        (None, None, None, heads, queries),
        lambda row, kv, group, step, *_: (kv, row, group, 0, step),
    )
    of_spans = pl.BlockSpec(
        (None, spans.shape[1], queries), lambda row, kv, group, step, *_: (row, 0, step)
    )
    return of_queries, of_keys, of_numbers, of_spans


def _call(
    kernel: Callable[..., None],
    name: str,
    shape: Shape,
    blocks: tuple[Array, Array],
    inputs: Sequence[tuple[Array, Any]],
    outputs: Sequence[tuple[jax.ShapeDtypeStruct, Any]],
    scratch: Sequence[tuple[int, ...]],
    semantics: tuple[Literal["parallel", "arbitrary"], ...],
) -> Any:
    return pl.pallas_call(
        functools.partial(kernel, shape=shape),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(blocks),
            grid=shape.grid,
            in_specs=[spec for _, spec in inputs],
            out_specs=[spec for _, spec in outputs],
            scratch_shapes=[pltpu.VMEM(dims, jnp.float32) for dims in scratch],
        ),
        out_shape=[array for array, _ in outputs],
        compiler_params=pltpu.CompilerParams(dimension_semantics=semantics),
        interpret=shape.interpret,
        name=name,
    )(*blocks, *(array for array, _ in inputs))
