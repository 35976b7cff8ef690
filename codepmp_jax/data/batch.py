"""A batch of tokenized items: rows of static shape, whatever the layout and the items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32


class Batch(NamedTuple):
    """B rows of W tokens, with places for M items of S texts and for C labels: row_tokens, row_items, kind.num_texts
    and row_labels of the layout.

    An item is a pair of texts, chosen and rejected, or one text (ItemKind). Attention runs over sequences of
    L = layout.sequence_length tokens: a padded row is S of them, a text each; a packed row is one. Places count tokens
    from the beginning of the row.
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
    ends: Int32[Any, "B M S"]
    """Places of the last token of each text, which rewards are read at; 0 where there is no item."""
    margin: Float32[Any, "B M"]
    """Of the pairs; 0 for other items."""
    item_mask: Bool[Any, "B M"]
    """Whether there is an item."""
    label_places: Int32[Any, "B C"]
    """Places of the tokens before the labels; 0 where there is no label."""
    labels: Int32[Any, "B C"]
    """The tokens to predict: of pairs those of the responses, of the sides that the layout has labels of, that have a
    token before them."""
    label_texts: Int32[Any, "B C"]
    """The label's text in its row: S * item + the text's index (0 chosen, 1 rejected); 0 where there is no label."""
    label_mask: Bool[Any, "B C"]
    """Whether there is a label."""
    companions: dict[str, Any]
    """Arrays of the objective's companions, by name: (B, M, ...) or (B, C, ...); 0 where there is no item or
    label. In a mixture also the number of each item's source (layouts.SOURCE)."""


def concatenate(batches: Sequence[Batch]) -> Batch:
    """The rows of all batches, in their order."""
    *arrays, companions = zip(*batches, strict=True)
    return Batch(
        *(np.concatenate(parts) for parts in arrays),
        companions={
            name: np.concatenate([part[name] for part in companions]) for name in companions[0]
        },
    )
