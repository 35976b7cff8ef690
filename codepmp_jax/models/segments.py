"""Which tokens of a row attend to which: the one rule that all implementations of attention follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

_NO_SEGMENT = np.iinfo(np.int32).max


class Segments(NamedTuple):
    """Segments and branches of a row's tokens, as in codepmp_jax/data/batch.py.

    A query sees the keys up to itself that have its segment and, if there are branches, branch 0 or its own
    branch. Tokens whose segment is not positive are padding: they may see one another or only themselves, and
    their output is finite and without meaning.
    """

    ids: Int[Array, "B L"]
    branches: Int[Array, "B L"] | None = None


class Options(NamedTuple):
    """Static options passed to an attention implementation."""

    scale: float
    """Scores are products of queries and keys times this."""
    soft_cap: float | None = None
    """Cap of the scaled scores (layers.soft_cap)."""
    window: int | None = None
    """A query sees only the last so many tokens of its text up to itself; by default all."""
    block: int | None = None
    """Number of queries, and of keys, in a block of scores; by default the implementation's own."""
    max_text: int | None = None
    """Number of tokens of the longest text; by default the row's length."""
    interpret: bool = False
    """Run Pallas kernels step by step on the CPU."""


Attend = Callable[[Array, Array, Array, Segments], Array]


class BranchOffsets(NamedTuple):
    """For rejected's own tokens, how many tokens lie in the row between them and the prefix shared with chosen.

    0 for all other tokens.
    """

    before: Int[Array, "B L"]
    """Number of rejected's own tokens before this one."""
    hidden: Int[Array, "B L"]
    """Number of chosen's own tokens before those, which rejected does not see: the shared prefix is so much farther
    away in the row than in the text."""


def branch_offsets(segments: Segments) -> BranchOffsets:
    """The offsets of every token; `segments` must have branches."""
    ids, branches = segments
    assert branches is not None
    places = jax.lax.broadcasted_iota(jnp.int32, ids.shape, 1)

    def latest(starts: Array) -> Array:
        return jax.lax.cummax(jnp.where(starts, places, -1), axis=1)

    def differs(x: Array) -> Array:
        return jnp.pad(x[:, 1:] != x[:, :-1], ((0, 0), (1, 0)), constant_values=True)

    pair_starts = differs(ids)
    starts = pair_starts | differs(branches)
    pair = latest(pair_starts)
    chosen, rejected = latest(starts & (branches == 1)), latest(starts & (branches == 2))
    is_rejected = branches == 2
    return BranchOffsets(
        before=jnp.where(is_rejected, places - rejected, 0),
        hidden=jnp.where(is_rejected & (chosen >= pair), rejected - chosen, 0),
    )


def visible(segments: Segments, window: int | None = None) -> Bool[Array, "B L L"]:
    """True where a query (row) sees a key (column)."""
    ids, branches = segments
    length = ids.shape[1]
    seen = jnp.tril(jnp.ones((length, length), bool))
    seen = seen & (ids[:, :, None] == ids[:, None, :])
    if branches is not None:
        queries, keys = branches[:, :, None], branches[:, None, :]
        seen = seen & ((keys == 0) | (keys == queries))
    if window is not None:
        places = jnp.arange(length)
        distances = places[:, None] - places[None, :]
        if branches is not None:
            shared = (branches == 0)[:, None, :]
            distances = distances - jnp.where(
                shared, branch_offsets(segments).hidden[:, :, None], 0
            )
        seen = seen & (distances < window)
    return seen


class Spans(NamedTuple):
    """What each query sees, as intervals of the row's places: `length` keys from `start` on, without the
    `hidden_length` keys from `hidden_start` on."""

    start: Int[Array, "B L"]
    length: Int[Array, "B L"]
    hidden_start: Int[Array, "B L"]
    hidden_length: Int[Array, "B L"]


def spans(segments: Segments, window: int | None = None) -> Spans:
    """The same as `visible` for the queries of segments, in which branches come in their order; padding sees itself."""
    ids, branches = segments
    places = jax.lax.broadcasted_iota(jnp.int32, ids.shape, 1)
    differs = jnp.pad(ids[:, 1:] != ids[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    start = jax.lax.cummax(jnp.where(differs | (ids <= 0), places, 0), axis=1)
    before = hidden = jnp.zeros_like(places)
    if branches is not None:
        before, hidden = branch_offsets(segments)
    if window is not None:
        # If the window reaches the shared prefix, it begins as much farther back as is hidden.
        farther = jnp.where(before < window - 1, hidden, 0)
        start = jnp.maximum(start, places - farther - (window - 1))
    return Spans(start, places + 1 - start, places - before - hidden, hidden)


def seen_blocks(spans: Spans, queries: int, keys: int) -> Bool[Array, "B Q T"]:
    """True where some query of a block of `queries` (row) sees some key of a block of `keys` (column); both divide L."""
    rows, length = spans.start.shape
    first = jnp.arange(0, length, keys)[:, None, None]

    def overlap(start: Array, size: Array) -> Array:
        """Of each block of keys with each query's interval."""
        end = jnp.minimum(start + size, first + keys)
        return jnp.maximum(end - jnp.maximum(start, first), 0)

    seen = overlap(spans.start, spans.length)
    # What is hidden lies within what would be seen, but for a window, which may begin after it.
    hidden_end = spans.hidden_start + spans.hidden_length
    hidden_start = jnp.maximum(spans.hidden_start, spans.start)
    seen = seen > overlap(hidden_start, jnp.maximum(hidden_end - hidden_start, 0))
    blocks = jnp.any(seen.reshape(-1, queries), axis=-1)
    return blocks.reshape(length // keys, rows, length // queries).transpose(1, 2, 0)


def _of_blocks(
    reduce: Callable[..., Array], tokens: Shaped[Array, "B L"], block: int
) -> Shaped[Array, "B Q"]:
    """What `reduce` says of each block of tokens.

    By way of blocks without rows: of (B, Q, block) the TPU compiler picks a layout that it then cannot compile, where the
    rows themselves are a reshape of longer ones.
    """
    return reduce(tokens.reshape(-1, block), axis=-1).reshape(len(tokens), -1)


def near_blocks(segments: Segments, block: int, window: int) -> Bool[Array, "B Q Q"]:
    """True where some key of a block (column) may be in the window of some query of a block (row)."""
    places = jnp.arange(segments.ids.shape[1] // block)
    nearest = ((places[:, None] - places[None, :] - 1) * block + 1)[None]
    if segments.branches is not None:
        hidden = branch_offsets(segments).hidden
        nearest = nearest - _of_blocks(jnp.max, hidden, block)[:, :, None]
    return nearest < window


def needed_blocks(
    segments: Segments, block: int, window: int | None = None
) -> Bool[Array, "B Q Q"]:
    """True where some query of a block (row) may see some key of a block (column), and on the diagonal.

    `block` divides L; Q = L / block. Compares only the first and last segment of each block, which is cheap: every
    needed block is found, and if segments ascend along the row hardly any other.
    """
    ids = segments.ids
    first = _of_blocks(jnp.min, jnp.where(ids > 0, ids, _NO_SEGMENT), block)
    last = _of_blocks(jnp.max, ids, block)
    needed = first[:, None, :] <= last[:, :, None]
    needed = needed & (first[:, :, None] <= last[:, None, :])
    if segments.branches is not None:
        chosen, rejected = (
            _of_blocks(jnp.all, segments.branches == branch, block) for branch in (1, 2)
        )
        needed = needed & ~(rejected[:, :, None] & chosen[:, None, :])
    places = jnp.arange(last.shape[1])
    needed = needed & (places[None, :] < places[:, None])
    if window is not None:
        needed = needed & near_blocks(segments, block, window)
    return needed | (places[None, :] == places[:, None])


Tree = TypeVar("Tree")


def pad_rows(arrays: Tree, block: int, axis: int = 1) -> Tree:
    """A tree of arrays, whose dim `axis`, a row's tokens, is padded with zeros to a multiple of `block`."""

    def pad(array: Array) -> Array:
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, -array.shape[axis] % block)
        return jnp.pad(array, widths)

    return jax.tree.map(pad, arrays)


def attend_by_branch(
    attend: Attend,
    query: Float[Array, "_ _ _ E"],
    key: Float[Array, "_ _ _ E"],
    value: Float[Array, "_ _ _ E"],
    segments: Segments,
    axis: int = 0,
) -> Float[Array, "_ _ _ E"]:
    """Attention with branches by an `attend` that supports segments only. `axis` is that of the rows; the next is
    that of their tokens.

    Calls it twice: with rejected's own tokens as padding, and with chosen's.
    """
    ids, branches = segments
    if branches is None:
        return attend(query, key, value, segments)
    outputs = [
        attend(query, key, value, Segments(jnp.where(branches == hidden, -ids, ids)))
        for hidden in (2, 1)
    ]
    others = [i for i in range(query.ndim) if i not in (axis, axis + 1)]
    is_rejected = jnp.expand_dims(branches == 2, others)
    return jnp.where(is_rejected, outputs[1], outputs[0])


def is_interpreted() -> bool:
    """Whether the computation being traced will run on the CPU, where Pallas kernels are interpreted."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return (device.platform if device is not None else jax.default_backend()) == "cpu"
