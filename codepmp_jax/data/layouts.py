"""What a row of the batch is: one object a layout, with its capacities and where it puts the tokens of items.

Which token attends to which follows from the segments and branches written here (codepmp_jax/models/segments.py).
A layout of its own is a class with a line in `LAYOUTS`, and its name in DataConfig.layout.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int32

from codepmp_jax.config import DataConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.item_kind import ItemKind
from codepmp_jax.data.pairs import PAIRS
from codepmp_jax.data.tokenized_item import Companion, Side, TokenizedItem

SOURCE = "source"
"""Companion of each item in the rows of a mixture: the number of its source, in the order of DataConfig.sources."""

Capacity = Literal["labels", "items"]
"""What a row has a fixed number of places for, beside tokens."""
Places = Int32[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Rows that hold as many items as fit, one text after the other; the base of all layouts."""

    config: DataConfig
    label_sides: tuple[Side, ...] = ("chosen",)
    """Texts of a pair whose response tokens are labels."""
    companions: tuple[Companion, ...] = ()
    kind: ItemKind = PAIRS
    """What the items are."""

    has_branches: ClassVar[bool] = False
    """Whether both texts of a pair share tokens of the row."""

    @property
    def row_tokens(self) -> int:
        """W: tokens of a row; by default as many as any item has."""
        return self.config.row_length or self.kind.num_texts * self.config.max_length

    @property
    def sequence_length(self) -> int:
        """L: tokens of a sequence that attention runs over; divides row_tokens."""
        return self.row_tokens

    @property
    def row_items(self) -> int:
        """M: places for items in a row, one for every eight of its tokens."""
        return max(1, self.row_tokens // 8)

    @property
    def row_labels(self) -> int:
        """C: places for labels in a row: of each text with labels config.row_labels, by default enough for any one item,
        and for the text's share of a row, which is half for a pair."""
        share = self.row_tokens // self.kind.num_texts
        text = max(min(self.config.max_length, self.row_tokens), share)
        return (self.config.row_labels or text) * self.label_texts

    @property
    def label_texts(self) -> int:
        """Texts of an item that have labels."""
        return min(self.kind.num_texts, len(self.label_sides))

    @property
    def window(self) -> int:
        """Items that wait to be packed."""
        return self.config.packing_window

    def num_tokens(self, item: TokenizedItem) -> int:
        """Tokens that the item takes of a row."""
        return sum(map(len, item.texts))

    def num_labels(self, item: TokenizedItem) -> int:
        """Labels that the item takes of a row."""
        return item.num_labels(self.label_sides)

    def lacking(self, items: Sequence[TokenizedItem]) -> Capacity | None:
        """What a row has too few places of for these items; None where it has enough."""
        if len(items) > self.row_items:
            return "items"
        return "labels" if sum(map(self.num_labels, items)) > self.row_labels else None

    def places(self, item: TokenizedItem, free: int) -> tuple[Places, ...]:
        """Places of each text's tokens in a row that is free from `free` on."""
        lengths = [len(text) for text in item.texts]
        starts = itertools.accumulate(lengths, initial=free)
        return tuple(_span(start, length) for start, length in zip(starts, lengths, strict=False))

    def segments(self, number: int) -> tuple[int, ...]:
        """Segments of the texts of the row's item `number`, counted from 0."""
        num_texts = self.kind.num_texts
        return tuple(range(num_texts * number + 1, num_texts * (number + 1) + 1))

    def empty(self, num_rows: int, pad_id: int) -> Batch:
        """Rows of padding, without items."""
        rows = (num_rows, self.row_tokens)
        items, labels = (num_rows, self.row_items), (num_rows, self.row_labels)
        return Batch(
            tokens=np.full(rows, pad_id, np.int32),
            positions=np.zeros(rows, np.int32),
            segments=np.zeros(rows, np.int32),
            branches=np.zeros(rows, np.int8),
            ends=np.zeros((*items, self.kind.num_texts), np.int32),
            margin=np.zeros(items, np.float32),
            item_mask=np.zeros(items, bool),
            label_places=np.zeros(labels, np.int32),
            labels=np.zeros(labels, np.int32),
            label_texts=np.zeros(labels, np.int32),
            label_mask=np.zeros(labels, bool),
            companions={
                one.name: np.zeros(
                    (*(labels if one.unit == "labels" else items), *one.shape), one.dtype
                )
                for one in self.companions
            }
            | ({SOURCE: np.zeros(items, np.int32)} if self.config.sources else {}),
        )

    def fill(self, items: Sequence[TokenizedItem], pad_id: int) -> Batch:
        """The row of `items`, which fit."""
        batch = self.empty(1, pad_id)
        free = num_labels = 0
        for number, item in enumerate(items):
            places = self.places(item, free)
            self._write_texts(batch, number, item, places)
            num_labels = self._write_labels(batch, number, item, places, num_labels)
            free += self.num_tokens(item)
        return batch

    def _write_texts(
        self, batch: Batch, number: int, item: TokenizedItem, places: tuple[Places, ...]
    ) -> None:
        for text, at, segment in zip(item.texts, places, self.segments(number), strict=True):
            batch.tokens[0, at] = text
            batch.positions[0, at] = np.arange(len(text))
            batch.segments[0, at] = segment
        if self.has_branches:
            for branch, at in enumerate(places, start=1):
                batch.branches[0, at[item.common :]] = branch
        batch.ends[0, number] = [at[-1] for at in places]
        batch.margin[0, number] = item.margin
        batch.item_mask[0, number] = True
        for one in self.companions:
            if one.unit != "labels":
                batch.companions[one.name][0, number] = item.companions[one.name]
        if item.source:
            names = [source.name for source in self.config.sources]
            batch.companions[SOURCE][0, number] = names.index(item.source)

    def _write_labels(
        self,
        batch: Batch,
        number: int,
        item: TokenizedItem,
        places: tuple[Places, ...],
        start: int,
    ) -> int:
        """Writes the item's labels from the label place `start` on; the first place behind them."""
        stop = start
        for i, text, labels in item.labelled(self.label_sides):
            span = slice(stop, stop + len(labels))
            # In shared rows the token before rejected's first own one is the last that both have.
            batch.label_places[0, span] = places[i][labels - 1]
            batch.labels[0, span] = text[labels]
            batch.label_texts[0, span] = self.kind.num_texts * number + i
            batch.label_mask[0, span] = True
            stop = span.stop
        for one in self.companions:
            if one.unit == "labels":
                batch.companions[one.name][0, start:stop] = item.companions[one.name]
        return stop


class Padded(Layout):
    """An item a row, each of its texts padded to max_length, as in the paper."""

    @property
    def sequence_length(self) -> int:
        """L: a text's part of the row."""
        return self.config.max_length

    @property
    def row_items(self) -> int:
        """One item."""
        return 1

    @property
    def window(self) -> int:
        """No item waits for others."""
        return 1

    def places(self, item: TokenizedItem, free: int) -> tuple[Places, ...]:
        """At the beginning, or with padding on the left at the end, of the text's part of the row."""
        length = self.config.max_length
        left = self.config.padding_side == "left"
        return tuple(
            _span(i * length + (length - len(text) if left else 0), len(text))
            for i, text in enumerate(item.texts)
        )

    def segments(self, number: int) -> tuple[int, ...]:
        """Each text is alone in its sequence."""
        return (1,) * self.kind.num_texts


class Packed(Layout):
    """As many items as fit, one text after the other."""


class Shared(Layout):
    """As many pairs as fit: the tokens that both texts begin with once, then the rest of chosen, then the rest of
    rejected."""

    has_branches = True

    def num_tokens(self, item: TokenizedItem) -> int:
        """What both texts begin with counts once."""
        return super().num_tokens(item) - item.common

    def places(self, item: TokenizedItem, free: int) -> tuple[Places, ...]:
        """Rejected's first tokens are chosen's."""
        first, second = item.texts
        chosen = _span(free, len(first))
        own = _span(free + len(first), len(second) - item.common)
        return chosen, np.concatenate([chosen[: item.common], own])

    def segments(self, number: int) -> tuple[int, ...]:
        """Both texts are of one segment; branches keep them apart."""
        return number + 1, number + 1


LAYOUTS: dict[str, type[Layout]] = {"padded": Padded, "packed": Packed, "shared": Shared}


def layout_of(
    config: DataConfig,
    label_sides: tuple[Side, ...] = ("chosen",),
    companions: tuple[Companion, ...] = (),
    kind: ItemKind = PAIRS,
) -> Layout:
    """The layout that config.layout names, with these items, labels of these sides and these companions."""
    return LAYOUTS[config.layout](config, label_sides, companions, kind)


def _span(start: int, length: int) -> np.ndarray:
    return np.arange(start, start + length, dtype=np.int32)
