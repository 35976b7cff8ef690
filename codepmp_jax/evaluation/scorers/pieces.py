"""Rows of tokens without padding and without what they have in common, for scoring in PyTorch.

In the order of their tokens, a row has more in common with the one before it than with any other: the prompt, if
both answer it, and as far into the response as they agree. A row continues from there with the keys and values of
the one before. What rows add is one stream of tokens, cut into chunks of one length, which the model computes one by
one; a chunk holds pieces of rows, and a row may end in a later chunk.

The reward of a row does not depend on the other rows, to the bit where the kernels allow it: every matmul is over
a whole chunk, and queries attend in blocks that begin at multiples of the block in the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AttentionInterface

ATTENTION = "pieces"


@dataclasses.dataclass(frozen=True)
class Piece:
    """Tokens `start` to `stop` of a row, which are in a chunk from `offset` on."""

    row: int
    start: int
    stop: int
    offset: int
    is_end: bool
    """Whether it is the row's last piece."""

    @property
    def in_chunk(self) -> slice:
        """Indices of its tokens in the chunk."""
        return slice(self.offset, self.offset + self.stop - self.start)


def plan_chunks(rows: Sequence[np.ndarray], chunk_tokens: int) -> Iterator[list[Piece]]:
    """The pieces of each chunk of at most `chunk_tokens` tokens. No two rows are equal, and none is empty.

    Each piece continues from the keys and values that the one before left.
    """
    # Big-endian, so that bytes are in the order of tokens.
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">u4").tobytes())
    chunk: list[Piece] = []
    size = 0
    before = np.zeros(0, np.int32)
    for row in order:
        start, length = _common_length(before, rows[row]), len(rows[row])
        while start < length:
            stop = min(length, start + chunk_tokens - size)
            chunk.append(Piece(row, start, stop, size, stop == length))
            size += stop - start
            start = stop
            if size == chunk_tokens:
                yield chunk
                chunk, size = [], 0
        before = rows[row]
    if chunk:
        yield chunk


def _common_length(first: np.ndarray, second: np.ndarray) -> int:
    """Number of tokens that both rows begin with."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length


class _Blocks(NamedTuple):
    """Blocks of queries that begin at the same position in their texts, and so have equally many keys."""

    first: int
    """That position."""
    queries: Int[Tensor, "N B"]
    """Indices into the chunk; 0 for what is not the piece's."""
    keys: Int[Tensor, "N C"]
    """Indices into the cache followed by the chunk."""


class TextCache:
    """Keys and values of one text in every layer: those of the row that is computed, from its start."""

    def __init__(
        self, max_tokens: int, chunk_tokens: int, block: int, num_blocks: int, device: torch.device
    ):
        """`block` queries of a text, and `num_blocks` such blocks, attend at once."""
        self.capacity = -(-max_tokens // block) * block
        self._chunk_tokens = chunk_tokens
        self._block = block
        self._num_blocks = num_blocks
        self._device = device
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._hidden: dict[int, Tensor] = {}
        self.blocks: list[_Blocks] = []
        """Those of the chunk."""
        self.answers = self.kept = self._indices(np.zeros(0))
        """Index of each of the chunk's tokens in the outputs of all blocks; and of each of the text's tokens, after
        the chunk, in the cache followed by the chunk."""

    def enter(self, chunk: Sequence[Piece]) -> None:
        """Finds what attends to what in the next chunk, which is the same in all layers."""
        source = np.arange(self.capacity)
        members: dict[int, list[tuple[Piece, np.ndarray]]] = {}
        for piece in chunk:
            source[piece.start : piece.stop] = self.capacity + np.r_[piece.in_chunk]
            for first in range(piece.start // self._block * self._block, piece.stop, self._block):
                keys = source[: first + self._block].copy()
                members.setdefault(first, []).append((piece, keys))
        answers = np.zeros(self._chunk_tokens)
        self.blocks = []
        for first, equal in members.items():
            for start in range(0, len(equal), self._num_blocks):
                # Equally many every time, so that no kernel is chosen by their number.
                queries = np.zeros((self._num_blocks, self._block))
                keys = np.zeros((self._num_blocks, first + self._block))
                before = len(self.blocks) * self._num_blocks
                for n, (piece, seen) in enumerate(equal[start : start + self._num_blocks]):
                    own = np.r_[max(piece.start - first, 0) : min(piece.stop - first, self._block)]
                    indices = own + first - piece.start + piece.offset
                    queries[n, own] = indices
                    keys[n] = seen
                    answers[indices] = (before + n) * self._block + own
                self.blocks.append(_Blocks(first, self._indices(queries), self._indices(keys)))
        self.answers, self.kept = self._indices(answers), self._indices(source)

    def extend(
        self, index: int, key: Float[Tensor, "K T E"], value: Float[Tensor, "K T E"]
    ) -> tuple[Tensor, Tensor]:
        """(keys, values) of a layer: the cache's, then the chunk's. The cache then holds the text at the chunk's end."""
        if index not in self._layers:
            empty = key.new_zeros(len(key), self.capacity, key.shape[-1])
            self._layers[index] = empty, empty
        before = self._layers[index]
        keys, values = (torch.cat(pair, 1) for pair in zip(before, (key, value), strict=True))
        self._layers[index] = keys[:, self.kept], values[:, self.kept]
        return keys, values

    def hidden(self, first: int, window: int | None) -> Bool[Tensor, "B M"]:
        """True where a query of a block (row) does not see a key (column): a later one, or one out of the window.

        The columns are the last M keys that the block has; it sees all the others.
        """
        window = min(window or self.capacity, self.capacity)
        if window not in self._hidden:
            positions = torch.arange(self.capacity, device=self._device)
            distance = positions[:, None] - positions[None, :]
            self._hidden[window] = (distance < 0) | (distance >= window)
        end = first + self._block
        # Where all of them are in the window, only keys of the block itself can be hidden.
        return self._hidden[window][first:end, first if end <= window else 0 : end]

    def _indices(self, array: np.ndarray) -> Int[Tensor, " *shape"]:
        return torch.from_numpy(array.astype(np.int64)).to(self._device)


def _attend(
    query: Float[Tensor, "K N Q E"],
    key: Float[Tensor, "K N C E"],
    value: Float[Tensor, "K N C E"],
    hidden: Bool[Tensor, "B M"],
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "K N Q E"]:
    """N blocks. Q counts the B queries of all heads that share a kv head; `hidden` is about the last M keys."""
    scores = (query * scaling) @ key.mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    by_query = scores.unflatten(2, (-1, len(hidden)))
    by_query[..., -hidden.shape[1] :].masked_fill_(hidden, float("-inf"))
    return F.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype) @ value


def attend_pieces(
    module: Any,
    query: Float[Tensor, "1 H T E"],
    key: Float[Tensor, "1 K T E"],
    value: Float[Tensor, "1 K T E"],
    attention_mask: None,
    *,
    cache: TextCache,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 T H E"], None]:
    """transformers' attention function for the chunk that `cache` has entered: each piece sees its row so far."""
    keys, values = cache.extend(module.layer_idx, key[0], value[0])
    num_kv_heads = len(keys)
    attended = []
    for first, own, seen in cache.blocks:
        queries = query[0][:, own].unflatten(0, (num_kv_heads, -1)).transpose(1, 2)
        answer = _attend(
            queries.flatten(2, 3),
            keys[:, seen],
            values[:, seen],
            cache.hidden(first, sliding_window),
            scaling,
            softcap,
        )
        attended.append(answer.view_as(queries).transpose(1, 2).flatten(0, 1).flatten(1, 2))
    return torch.cat(attended, 1)[:, cache.answers].transpose(0, 1)[None], None


AttentionInterface.register(ATTENTION, attend_pieces)
