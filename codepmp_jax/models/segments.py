"""Which tokens of a row attend to which: the one rule behind every implementation of attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_NO_SEGMENT = np.iinfo(np.int32).max


class Segments(NamedTuple):
    """Segments and branches of a row's tokens, as in codepmp_jax/data/batch.py.

    A query sees the keys up to itself that have its segment and, where there are branches, either branch 0
    or its own. Tokens of a segment that is not positive are padding: they may see one another or only
    themselves, and what they get is finite and means nothing.
    """

    segments: Int[Array, "B L"]
    branches: Int[Array, "B L"] | None = None


class Options(NamedTuple):
    """What an implementation of attention is told beside the arrays."""

    scale: float
    """Scores are products of queries and keys times this."""
    soft_cap: float | None = None
    """Scores are then capped (layers.soft_cap)."""
    window: int | None = None
    """Tokens of its text, itself the last, that a query sees; by default all before it."""
    block: int | None = None
    """Queries and keys of a block of scores; by default the implementation's own."""
    max_text: int | None = None
    """Tokens of the longest text; by default the row's length."""
    interpret: bool = False
    """Run Pallas kernels step by step on the CPU."""


Attend = Callable[[Array, Array, Array, Segments], Array]


class Apart(NamedTuple):
    """Of rejected's own tokens, what stands in the row between them and what they share with chosen.

    All 0 for other tokens.
    """

    before: Int[Array, "B L"]
    """Rejected's own tokens before this one."""
    hidden: Int[Array, "B L"]
    """Chosen's own tokens before those: so many more tokens away in the row than in the text is what both
    share."""


def apart(where: Segments) -> Apart:
    """How far branches stand apart; `where` has branches."""
    segments, branches = where
    assert branches is not None
    places = jax.lax.broadcasted_iota(jnp.int32, segments.shape, 1)

    def latest(starts: Array) -> Array:
        return jax.lax.cummax(jnp.where(starts, places, -1), axis=1)

    def differs(x: Array) -> Array:
        return jnp.pad(x[:, 1:] != x[:, :-1], ((0, 0), (1, 0)), constant_values=True)

    pair_starts = differs(segments)
    starts = pair_starts | differs(branches)
    pair = latest(pair_starts)
    chosen, rejected = latest(starts & (branches == 1)), latest(starts & (branches == 2))
    is_rejected = branches == 2
    return Apart(
        before=jnp.where(is_rejected, places - rejected, 0),
        hidden=jnp.where(is_rejected & (chosen >= pair), rejected - chosen, 0),
    )


def visible(where: Segments, window: int | None = None) -> Bool[Array, "B L L"]:
    """True where a query (row) sees a key (column)."""
    segments, branches = where
    length = segments.shape[1]
    seen = jnp.tril(jnp.ones((length, length), bool))
    seen = seen & (segments[:, :, None] == segments[:, None, :])
    if branches is not None:
        queries, keys = branches[:, :, None], branches[:, None, :]
        seen = seen & ((keys == 0) | (keys == queries))
    if window is not None:
        places = jnp.arange(length)
        distances = places[:, None] - places[None, :]
        if branches is not None:
            shared = (branches == 0)[:, None, :]
            distances = distances - jnp.where(shared, apart(where).hidden[:, :, None], 0)
        seen = seen & (distances < window)
    return seen


def near_blocks(where: Segments, block: int, window: int) -> Bool[Array, "B Q Q"]:
    """True where some key of a block (column) may lie in the window of some query of a block (row)."""
    places = jnp.arange(where.segments.shape[1] // block)
    nearest = ((places[:, None] - places[None, :] - 1) * block + 1)[None]
    if where.branches is not None:
        hidden = apart(where).hidden.reshape(len(where.segments), -1, block)
        nearest = nearest - hidden.max(axis=-1)[:, :, None]
    return nearest < window


def needed_blocks(where: Segments, block: int, window: int | None = None) -> Bool[Array, "B Q Q"]:
    """True where some query of a block (row) may see some key of a block (column), and on the diagonal.

    `block` divides L; Q = L / block. Compares only what segments a block spans, so that it costs little:
    it finds every block that is needed, and where segments ascend hardly another one.
    """
    rows = where.segments.shape[0]
    segments = where.segments.reshape(rows, -1, block)
    first = jnp.where(segments > 0, segments, _NO_SEGMENT).min(axis=-1)
    last = segments.max(axis=-1)
    needed = first[:, None, :] <= last[:, :, None]
    needed = needed & (first[:, :, None] <= last[:, None, :])
    if where.branches is not None:
        branches = where.branches.reshape(rows, -1, block)
        chosen, rejected = (jnp.all(branches == branch, axis=-1) for branch in (1, 2))
        needed = needed & ~(rejected[:, :, None] & chosen[:, None, :])
    places = jnp.arange(segments.shape[1])
    needed = needed & (places[None, :] < places[:, None])
    if window is not None:
        needed = needed & near_blocks(where, block, window)
    return needed | (places[None, :] == places[:, None])


Tree = TypeVar("Tree")


def pad_rows(arrays: Tree, block: int) -> Tree:
    """Arrays (B, L, ...) in a tree, with zeros after each row up to a multiple of `block`."""

    def pad(array: Array) -> Array:
        widths = [(0, 0)] * array.ndim
        widths[1] = (0, -array.shape[1] % block)
        return jnp.pad(array, widths)

    return jax.tree.map(pad, arrays)


def attend_by_branch(
    attend: Attend,
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    where: Segments,
) -> Float[Array, "B L H E"]:
    """Attention with branches from an `attend` that knows only segments: once without rejected's tokens, which
    become padding, and once without chosen's."""
    segments, branches = where
    if branches is None:
        return attend(query, key, value, where)
    outputs = [
        attend(query, key, value, Segments(jnp.where(branches == hidden, -segments, segments)))
        for hidden in (2, 1)
    ]
    return jnp.where((branches == 2)[..., None, None], outputs[1], outputs[0])


def is_interpreted() -> bool:
    """Whether the computation being traced is meant for the CPU, which interprets Pallas kernels."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return (device.platform if device is not None else jax.default_backend()) == "cpu"
