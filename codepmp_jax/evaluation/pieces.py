"""Rows of tokens without padding and without what they have in common, for scoring in PyTorch.

In the order of their tokens, a row has more in common with the one before it than with any other: the prompt, if
both answer it, and as far into the response as they agree. A row goes on from there with the keys and values of the
one before. What rows add is one stream of tokens, cut into chunks of one length, which the model computes one by
one; a chunk holds pieces of rows, and a row may end in a later chunk.

The reward of a row is the same, to the bit where the kernels allow it, whatever else is scored: every matmul is over
a whole chunk, and queries attend in blocks that begin at multiples of the block in the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AttentionInterface

ATTENTION = "pieces"


@dataclasses.dataclass(frozen=True)
class Piece:
    """Tokens of a row, from `start` up to `stop`, that lie in a chunk from `offset` on."""

    row: int
    start: int
    stop: int
    offset: int
    is_end: bool
    """Whether the row ends with it."""

    @property
    def place(self) -> slice:
        """Its tokens in the chunk."""
        return slice(self.offset, self.offset + self.stop - self.start)


def plan_chunks(rows: Sequence[np.ndarray], chunk_tokens: int) -> Iterator[list[Piece]]:
    """The pieces of each chunk of at most `chunk_tokens` tokens. No two rows are equal, and none is empty.

    Pieces follow one another in the order in which each goes on from what the one before left.
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


class TextCache:
    """Keys and values of one text in every layer: those of the row that is computed, from its start."""

    def __init__(self, max_tokens: int, block: int):
        """`block` is the number of queries that attend at once."""
        self.block = block
        self.capacity = -(-max_tokens // block) * block
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._hidden: dict[int, Tensor] = {}

    def layer(self, index: int, key: Float[Tensor, "1 K T E"]) -> tuple[Tensor, Tensor]:
        """(keys, values) [K C E] of a layer, zeros at first."""
        if index not in self._layers:
            _, num_heads, _, head_dim = key.shape
            shape = (num_heads, self.capacity, head_dim)
            self._layers[index] = key.new_zeros(shape), key.new_zeros(shape)
        return self._layers[index]

    def hidden(self, window: int, device: torch.device) -> Bool[Tensor, "C C"]:
        """True where a query (row) does not see a key (column): one behind itself, or out of the window."""
        if window not in self._hidden:
            places = torch.arange(self.capacity, device=device)
            distance = places[:, None] - places[None, :]
            self._hidden[window] = (distance < 0) | (distance >= window)
        return self._hidden[window]


def _attend(
    query: Float[Tensor, "K G B E"],
    key: Float[Tensor, "K N E"],
    value: Float[Tensor, "K N E"],
    hidden: Bool[Tensor, "B M"],
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "K G B E"]:
    """A block of queries, of which G heads share a kv head. `hidden` is about the last M keys; all see the others."""
    scores = ((query * scaling).flatten(1, 2) @ key.mT).view(*query.shape[:3], -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores[..., -hidden.shape[1] :].masked_fill_(hidden, float("-inf"))
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights.flatten(1, 2) @ value).view(query.shape)


def attend_pieces(
    module: Any,
    query: Float[Tensor, "1 H T E"],
    key: Float[Tensor, "1 K T E"],
    value: Float[Tensor, "1 K T E"],
    attention_mask: None,
    *,
    pieces: Sequence[Piece],
    cache: TextCache,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 T H E"], None]:
    """transformers' attention function for a chunk: each piece sees its row so far, which `cache` keeps."""
    keys, values = cache.layer(module.layer_idx, key)
    window = min(sliding_window or cache.capacity, cache.capacity)
    hidden = cache.hidden(window, query.device)
    num_kv_heads, block = key.shape[1], cache.block
    output = torch.zeros_like(query)
    for piece in pieces:
        keys[:, piece.start : piece.stop] = key[0, :, piece.place]
        values[:, piece.start : piece.stop] = value[0, :, piece.place]
        for first in range(piece.start // block * block, piece.stop, block):
            end = first + block
            # Of the block's places in the text, those that are the piece's; and where they lie in the chunk.
            own = slice(max(piece.start - first, 0), min(piece.stop - first, block))
            shift = piece.offset - piece.start + first
            place = slice(own.start + shift, own.stop + shift)
            queries = query.new_zeros(query.shape[1], block, query.shape[3])
            queries[:, own] = query[0, :, place]
            # Where all of them are in the window, only keys of the block itself can be hidden.
            masked = slice(first if end <= window else 0, end)
            attended = _attend(
                queries.unflatten(0, (num_kv_heads, -1)),
                *(keys[:, :end], values[:, :end], hidden[first:end, masked]),
                *(scaling, softcap),
            )
            output[0, :, place] = attended.flatten(0, 1)[:, own]
    return output.transpose(1, 2), None


AttentionInterface.register(ATTENTION, attend_pieces)
