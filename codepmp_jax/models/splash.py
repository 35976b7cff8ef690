"""Attention on TPU: JAX's splash attention kernels, which skip blocks of scores chosen at run time."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import (
    DEFAULT_MASK_VALUE,
    BlockSizes,
    SegmentIds,
    SplashAttentionKernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.cli.errors import require
from codepmp_jax.models.segments import (
    Options,
    Segments,
    attend_by_branch,
    branch_offsets,
    near_blocks,
    needed_blocks,
    pad_rows,
)

DEFAULT_BLOCK = 512
LANES = 128


def attend_splash(
    query: Float[Array, "H B L E"],
    key: Float[Array, "K B L E"],
    value: Float[Array, "K B L E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "H B L E"]:
    """As codepmp_jax.models.attention.attend, heads first. Blocks are multiples of 128 tokens; rows are padded to
    blocks.

    With branches it calls the kernels once if there is no window and TokenMask fits 32 bits (texts of up to 1024
    tokens with blocks of up to 2048), and twice otherwise.
    """
    length = query.shape[2]
    window = options.window
    block = min(options.block or DEFAULT_BLOCK, length)
    block += -block % LANES
    query, key, value = (pad_rows(x, block, axis=2) for x in (query, key, value))
    segments = pad_rows(segments, block)
    mask = _mask(segments, options.max_text or length, block, window)
    codes, ids = mask.encode(segments)
    if options.scale != 1:
        # In float32, since bfloat16 would round the scale by up to 0.4 %.
        query = (query.astype(jnp.float32) * options.scale).astype(query.dtype)

    if segments.branches is None or isinstance(mask, TokenMask):
        needed = needed_blocks(segments, block, window)
        output = _call(query, key, value, codes, ids, needed, mask, block, options)
        return output[:, :, :length]

    def call(query: Array, key: Array, value: Array, one_branch: Segments) -> Array:
        needed = needed_blocks(one_branch, block)
        if window is not None:
            needed = needed & near_blocks(segments, block, window)
        return _call(query, key, value, codes, one_branch.ids, needed, mask, block, options)

    return attend_by_branch(call, query, key, value, segments, axis=1)[:, :, :length]


@dataclasses.dataclass(frozen=True)
class CausalMask:
    """Causality, and a window in texts that are contiguous in the row; the code is the query's place."""

    window: int | None = None

    def encode(self, segments: Segments) -> tuple[Int[Array, "B L"], Int[Array, "B L"]]:
        """(code of each token, segment ids to use with it)."""
        return _places(segments), segments.ids

    def __call__(self, codes: Array, keys: Array) -> Array:
        """True where a query with a code may see the key at a place, if their segments are the same."""
        seen = keys <= codes
        return seen if self.window is None else seen & (codes - keys < self.window)


@dataclasses.dataclass(frozen=True)
class TokenMask:
    """Causality and branches from 32 bits per query, since splash computes masks from one number per query.

    The code of the query at place p holds p modulo 2^place_bits and the query's BranchOffsets. That distinguishes
    keys less than `max_distance` before the query from keys after it; no pair spans more tokens, and other pairs
    have other segments.
    """

    max_distance: int
    place_bits: int
    branch_bits: int

    @classmethod
    def of_texts(cls, max_text: int, block: int) -> TokenMask | None:
        """The mask for pairs of texts of up to `max_text` tokens; None if 32 bits do not suffice."""
        # A pair that shares a token has fewer than 2 * max_text. Keys after the query are in its own block.
        max_distance = 2 * max_text - 1
        place_bits = (max_distance + block - 2).bit_length()
        branch_bits = (max_text - 1).bit_length()
        if place_bits + 2 * branch_bits > 32:
            return None
        return cls(max_distance, place_bits, branch_bits)

    def encode(self, segments: Segments) -> tuple[Int[Array, "B L"], Int[Array, "B L"]]:
        """See CausalMask."""
        before, hidden = branch_offsets(segments)
        # Texts too long for the bits share no token, so rejected can be a segment of its own.
        alone = hidden >= 1 << self.branch_bits
        hidden = jnp.where(alone, 0, hidden)
        code = _places(segments) % (1 << self.place_bits)
        code = code | before << self.place_bits
        code = code | hidden << (self.place_bits + self.branch_bits)
        return code, jnp.where(alone, -segments.ids, segments.ids)

    def __call__(self, codes: Array, keys: Array) -> Array:
        """See CausalMask."""
        distance = (codes - keys) & ((1 << self.place_bits) - 1)
        before = jax.lax.shift_right_logical(codes, self.place_bits) & ((1 << self.branch_bits) - 1)
        hidden = jax.lax.shift_right_logical(codes, self.place_bits + self.branch_bits)
        seen = (distance <= before) | (distance > before + hidden)
        return seen & (distance < self.max_distance)


@dataclasses.dataclass(frozen=True)
class WindowMask:
    """Causality and a window, for calls that see one branch each, from 32 bits per query.

    The code holds the query's place as in TokenMask, and BranchOffsets.hidden if the window reaches the shared
    prefix: the window then reaches so many places farther back.
    """

    window: int
    place_bits: int
    hidden_bits: int

    @classmethod
    def of_texts(cls, max_text: int, block: int, window: int) -> WindowMask:
        """The mask for pairs of texts of up to `max_text` tokens. Raises UserError if 32 bits do not suffice."""
        place_bits = (2 * max_text + block - 3).bit_length()
        hidden_bits = (max_text - 1).bit_length()
        require(
            place_bits + hidden_bits <= 32,
            "data.max_length",
            max_text,
            "must be at most 32768 with a sliding window in the layout shared",
            "set data.layout to packed",
        )
        return cls(window, place_bits, hidden_bits)

    def encode(self, segments: Segments) -> tuple[Int[Array, "B L"], Int[Array, "B L"]]:
        """See CausalMask."""
        before, hidden = branch_offsets(segments)
        # If the count does not fit the bits, the texts share no token, and there is no prefix to reach.
        reaches = (before < self.window - 1) & (hidden < 1 << self.hidden_bits)
        code = _places(segments) % (1 << self.place_bits)
        return code | jnp.where(reaches, hidden, 0) << self.place_bits, segments.ids

    def __call__(self, codes: Array, keys: Array) -> Array:
        """See CausalMask."""
        distance = (codes - keys) & ((1 << self.place_bits) - 1)
        return distance < self.window + jax.lax.shift_right_logical(codes, self.place_bits)


Mask = CausalMask | TokenMask | WindowMask


def _mask(segments: Segments, max_text: int, block: int, window: int | None) -> Mask:
    if segments.branches is None:
        return CausalMask(window)
    if window is not None:
        return WindowMask.of_texts(max_text, block, window)
    return TokenMask.of_texts(max_text, block) or CausalMask()


def _places(segments: Segments) -> Int[Array, "B L"]:
    """Each token's place in the concatenated rows."""
    shape = segments.ids.shape
    return jnp.arange(segments.ids.size, dtype=jnp.int32).reshape(shape)


def _next_needed(needed: Bool[Array, "B Q Q"], axis: int) -> Int[Array, "B Q Q"]:
    """Along `axis`, the index of the next needed block, or of the last one: what to prefetch."""
    index = jax.lax.broadcasted_iota(jnp.int32, needed.shape, axis)
    following = jnp.where(needed, index, needed.shape[axis])
    following = jax.lax.cummin(following, axis=axis, reverse=True)
    return jnp.minimum(following, jnp.max(index * needed, axis=axis, keepdims=True))


def _mask_infos(needed: Bool[Array, "B Q Q"], codes: Int[Array, " T"]) -> tuple[MaskInfo, MaskInfo]:
    """Which blocks the kernels compute and fetch: for each block of queries, and for each block of keys.

    Blocks are numbered through the concatenated rows; each block has steps for the blocks of its own row.
    """
    rows, blocks, _ = needed.shape
    first_block = blocks * jnp.arange(rows, dtype=jnp.int32)[:, None, None]

    def info(block_mask: Array, data_next: Array) -> MaskInfo:
        info = MaskInfo(data_next[None], None, block_mask[None].astype(jnp.int32), None, None)
        return info._replace(q_sequence=codes)

    def by_query(x: Array) -> Array:
        return x.reshape(rows * blocks, blocks)

    def by_key(x: Array) -> Array:
        return x.transpose(1, 0, 2).reshape(blocks, rows * blocks)

    return (
        info(by_query(needed), by_query(_next_needed(needed, 2) + first_block)),
        info(by_key(needed), by_key(_next_needed(needed, 1) + first_block)),
    )


def _call(
    query: Float[Array, "H B L E"],
    key: Float[Array, "K B L E"],
    value: Float[Array, "K B L E"],
    codes: Int[Array, "B L"],
    ids: Int[Array, "B L"],
    needed: Bool[Array, "B Q Q"],
    mask: Mask,
    block: int,
    options: Options,
) -> Float[Array, "H B L E"]:
    """Calls the kernels on all rows as one sequence of B * L tokens, skipping blocks that join two rows. Queries are
    scaled already."""
    by_query, by_key = _mask_infos(needed, codes.reshape(-1))
    kernel = SplashAttentionKernel(
        by_query,
        by_query,
        by_key,
        block_sizes=BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        is_mqa=False,
        save_residuals=False,
        mask_value=DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=options.soft_cap,
        residual_checkpoint_name="attention",
        mask_function=mask,
        interpret=options.interpret,
    )
    arrays = (x.reshape(len(x), -1, x.shape[-1]) for x in (query, key, value))
    ids = ids.reshape(-1)
    output = kernel(*arrays, segment_ids=SegmentIds(ids, ids))
    assert isinstance(output, jax.Array)
    return output.reshape(query.shape)
