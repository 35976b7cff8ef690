"""A batch of tokenized pairs: rows of static shape, whatever the layout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32

from codepmp_jax.config import DataConfig


class Batch(NamedTuple):
    """B rows of W = data.row_tokens tokens, with places for M = data.row_pairs pairs and for
    C = data.row_labels LM labels.

    Attention runs over sequences of L = data.sequence_length tokens: a padded row is two of them, chosen and
    then rejected; a packed row is one. Places count tokens from the beginning of the row.
    """

    tokens: Int32[Any, "B W"]
    positions: Int32[Any, "B W"]
    """The token's position in its text, from 0; 0 at padding."""
    segments: Int32[Any, "B W"]
    """Tokens of one sequence attend to one another only where these are equal: a number from 1 for each
    text, or for each pair in the layout `shared`; 0 at padding."""
    branches: Int8[Any, "B W"]
    """In the layout `shared`, 1 for the tokens that are only chosen's, 2 for those that are only rejected's,
    0 for what both begin with: neither branch attends to the other. In the other layouts 0."""
    ends: Int32[Any, "B M 2"]
    """Places of the last tokens of chosen and rejected, which rewards are read at; 0 where there is no pair."""
    margin: Float32[Any, "B M"]
    pair_mask: Bool[Any, "B M"]
    """Whether there is a pair."""
    label_places: Int32[Any, "B C"]
    """Places of the tokens before the LM labels; 0 where there is no label."""
    labels: Int32[Any, "B C"]
    """The tokens to predict: those of chosen responses that have a token before them."""
    label_mask: Bool[Any, "B C"]
    """Whether there is a label."""


def empty_batch(num_rows: int, config: DataConfig, pad_id: int) -> Batch:
    """Rows of padding, without pairs."""
    rows, pairs = (num_rows, config.row_tokens), (num_rows, config.row_pairs)
    labels = (num_rows, config.row_labels)
    return Batch(
        tokens=np.full(rows, pad_id, np.int32),
        positions=np.zeros(rows, np.int32),
        segments=np.zeros(rows, np.int32),
        branches=np.zeros(rows, np.int8),
        ends=np.zeros((*pairs, 2), np.int32),
        margin=np.zeros(pairs, np.float32),
        pair_mask=np.zeros(pairs, bool),
        label_places=np.zeros(labels, np.int32),
        labels=np.zeros(labels, np.int32),
        label_mask=np.zeros(labels, bool),
    )
