"""From encoded texts to the rows of a batch. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int32

from codepmp_jax.config import DataConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.tokenization import EncodedText

DropReason = Literal["too_long", "identical"]
DROP_REASONS: tuple[DropReason, ...] = ("too_long", "identical")


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A row that fits: at most max_length tokens, those from `label_start` on are LM labels."""

    tokens: Int32[np.ndarray, " L"]
    label_start: int


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedPair:
    """A pair on its way into a batch."""

    pair_id: str
    margin: float
    chosen: Row
    rejected: Row


def fit_row(text: EncodedText, config: DataConfig) -> Row | None:
    """The row cut to max_length with its label window; None where the policy is to drop it.

    The paper's window is as long as the response encoded on its own and ends with the row: where the
    row was cut it reaches into the prompt by as much, as in the authors' code.
    """
    if len(text.tokens) > config.max_length and config.length_policy == "drop":
        return None
    tokens = text.tokens[: config.max_length]
    if config.response_window == "paper":
        assert text.num_response_tokens is not None
        return Row(tokens, max(0, len(tokens) - text.num_response_tokens))
    return Row(tokens, min(text.response_start, len(tokens)))


def fit_pair(
    chosen: EncodedText, rejected: EncodedText, config: DataConfig
) -> tuple[Row, Row] | DropReason:
    """The rows of a pair, or why it is dropped.

    `too_long`: a row is over max_length and the policy is `drop`. `identical`: the two rows are the same
    tokens, after the cut where there is one; their pair loss is ln 2 whatever the model, without gradient.
    """
    rows = fit_row(chosen, config), fit_row(rejected, config)
    if rows[0] is None or rows[1] is None:
        return "too_long"
    if np.array_equal(rows[0].tokens, rows[1].tokens):
        return "identical"
    return rows[0], rows[1]


def make_batch(
    pairs: Sequence[TokenizedPair], num_pairs: int, config: DataConfig, pad_id: int
) -> Batch:
    """A batch of `num_pairs` [N 2 L]: `pairs`, padded on the side that is set, then filler pairs."""
    shape = (num_pairs, 2, config.max_length)
    batch = Batch(
        tokens=np.full(shape, pad_id, np.int32),
        token_mask=np.zeros(shape, bool),
        response_mask=np.zeros(shape, bool),
        margin=np.zeros(num_pairs, np.float32),
        pair_mask=np.arange(num_pairs) < len(pairs),
    )
    for i, pair in enumerate(pairs):
        batch.margin[i] = pair.margin
        for side, row in enumerate((pair.chosen, pair.rejected)):
            start = 0 if config.padding_side == "right" else config.max_length - len(row.tokens)
            stop = start + len(row.tokens)
            batch.tokens[i, side, start:stop] = row.tokens
            batch.token_mask[i, side, start:stop] = True
            batch.response_mask[i, side, start + row.label_start : stop] = True
    return batch
