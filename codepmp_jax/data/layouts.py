"""What a row of the batch is: one object a layout, with its capacities and where it puts the tokens of pairs.

Which token attends to which follows from the segments and branches written here (codepmp_jax/models/segments.py).
A layout of its own is a class with a line in `LAYOUTS`, and its name in DataConfig.layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32

from codepmp_jax.config import DataConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.tokenized_pair import Companion, Side, TokenizedPair, Unit

SOURCE = "source"
"""Companion of each pair in the rows of a mixture: the number of its source, in the order of DataConfig.sources."""

Places = Int32[np.ndarray, " L1"]
PlacesOfRejected = Int32[np.ndarray, " L2"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Rows that hold as many pairs as fit, one text after the other; the base of all layouts."""

    config: DataConfig
    label_sides: tuple[Side, ...] = ("chosen",)
    """Texts whose response tokens are labels."""
    companions: tuple[Companion, ...] = ()

    has_branches: ClassVar[bool] = False
    """Whether both texts of a pair share tokens of the row."""

    @property
    def row_tokens(self) -> int:
        """W: tokens of a row."""
        return self.config.row_length or 2 * self.config.max_length

    @property
    def sequence_length(self) -> int:
        """L: tokens of a sequence that attention runs over; divides row_tokens."""
        return self.row_tokens

    @property
    def row_pairs(self) -> int:
        """M: places for pairs in a row."""
        return max(1, self.row_tokens // 32)

    @property
    def row_labels(self) -> int:
        """C: places for labels in a row: enough for any one pair, and for half a row, of each side."""
        side = max(min(self.config.max_length, self.row_tokens), self.row_tokens // 2)
        return side * len(self.label_sides)

    @property
    def window(self) -> int:
        """Pairs that wait to be packed."""
        return self.config.packing_window

    def num_tokens(self, pair: TokenizedPair) -> int:
        """Tokens that the pair takes of a row."""
        return len(pair.chosen) + len(pair.rejected)

    def num_labels(self, pair: TokenizedPair) -> int:
        """Labels that the pair takes of a row."""
        return pair.num_labels(self.label_sides)

    def fits(self, pairs: Sequence[TokenizedPair]) -> bool:
        """Whether a row has places for so many pairs and labels."""
        num_labels = sum(map(self.num_labels, pairs))
        return num_labels <= self.row_labels and len(pairs) <= self.row_pairs

    def places(self, pair: TokenizedPair, free: int) -> tuple[Places, PlacesOfRejected]:
        """Places of the tokens of chosen and of rejected in a row that is free from `free` on."""
        middle = free + len(pair.chosen)
        return _span(free, len(pair.chosen)), _span(middle, len(pair.rejected))

    def segments(self, number: int) -> tuple[int, int]:
        """Segments of chosen and of rejected of the row's pair `number`, counted from 0."""
        return 2 * number + 1, 2 * number + 2

    def empty(self, num_rows: int, pad_id: int) -> Batch:
        """Rows of padding, without pairs."""
        rows = (num_rows, self.row_tokens)
        shapes: dict[Unit, tuple[int, int]] = {
            "pairs": (num_rows, self.row_pairs),
            "labels": (num_rows, self.row_labels),
        }
        pairs, labels = shapes["pairs"], shapes["labels"]
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
            label_texts=np.zeros(labels, np.int32),
            label_mask=np.zeros(labels, bool),
            companions={
                one.name: np.zeros((*shapes[one.unit], *one.shape), one.dtype)
                for one in self.companions
            }
            | ({SOURCE: np.zeros(pairs, np.int32)} if self.config.sources else {}),
        )

    def fill(self, pairs: Sequence[TokenizedPair], pad_id: int) -> Batch:
        """The row of `pairs`, which fit."""
        batch = self.empty(1, pad_id)
        free = num_labels = 0
        for number, pair in enumerate(pairs):
            places = self.places(pair, free)
            self._write_texts(batch, number, pair, places)
            num_labels = self._write_labels(batch, number, pair, places, num_labels)
            free += self.num_tokens(pair)
        return batch

    def _write_texts(
        self,
        batch: Batch,
        number: int,
        pair: TokenizedPair,
        places: tuple[Places, PlacesOfRejected],
    ) -> None:
        texts = (pair.chosen, pair.rejected)
        for text, at, segment in zip(texts, places, self.segments(number), strict=True):
            batch.tokens[0, at] = text
            batch.positions[0, at] = np.arange(len(text))
            batch.segments[0, at] = segment
        if self.has_branches:
            for branch, at in enumerate(places, start=1):
                batch.branches[0, at[pair.common :]] = branch
        batch.ends[0, number] = [at[-1] for at in places]
        batch.margin[0, number] = pair.margin
        batch.pair_mask[0, number] = True
        self._write_companions(batch, pair, "pairs", number)
        if pair.source:
            names = [source.name for source in self.config.sources]
            batch.companions[SOURCE][0, number] = names.index(pair.source)

    def _write_labels(
        self,
        batch: Batch,
        number: int,
        pair: TokenizedPair,
        places: tuple[Places, PlacesOfRejected],
        start: int,
    ) -> int:
        """Writes the pair's labels from the label place `start` on; the first place behind them."""
        stop = start
        for side, text, labels in pair.labelled(self.label_sides):
            span = slice(stop, stop + len(labels))
            # In shared rows the token before rejected's first own one is the last that both have.
            batch.label_places[0, span] = places[side][labels - 1]
            batch.labels[0, span] = text[labels]
            batch.label_texts[0, span] = 2 * number + side
            batch.label_mask[0, span] = True
            stop = span.stop
        self._write_companions(batch, pair, "labels", slice(start, stop))
        return stop

    def _write_companions(self, batch: Batch, pair: TokenizedPair, unit: Unit, at: Any) -> None:
        for one in self.companions:
            if one.unit == unit:
                batch.companions[one.name][0, at] = pair.companions[one.name]


class Padded(Layout):
    """A pair a row, its two texts padded to max_length each, as in the paper."""

    @property
    def sequence_length(self) -> int:
        """L: half a row."""
        return self.config.max_length

    @property
    def row_pairs(self) -> int:
        """One pair."""
        return 1

    @property
    def window(self) -> int:
        """No pair waits for others."""
        return 1

    def places(self, pair: TokenizedPair, free: int) -> tuple[Places, PlacesOfRejected]:
        """At the beginning, or with padding on the left at the end, of each half of the row."""
        length = self.config.max_length
        left = self.config.padding_side == "left"
        chosen, rejected = (
            _span(half + (length - len(text) if left else 0), len(text))
            for half, text in ((0, pair.chosen), (length, pair.rejected))
        )
        return chosen, rejected

    def segments(self, number: int) -> tuple[int, int]:
        """Each text is alone in its sequence."""
        return 1, 1


class Packed(Layout):
    """As many pairs as fit, one text after the other."""


class Shared(Layout):
    """As many pairs as fit: the tokens that both texts begin with once, then the rest of chosen, then the rest of
    rejected."""

    has_branches = True

    def num_tokens(self, pair: TokenizedPair) -> int:
        """What both texts begin with counts once."""
        return super().num_tokens(pair) - pair.common

    def places(self, pair: TokenizedPair, free: int) -> tuple[Places, PlacesOfRejected]:
        """Rejected's first tokens are chosen's."""
        chosen = _span(free, len(pair.chosen))
        own = _span(free + len(pair.chosen), len(pair.rejected) - pair.common)
        return chosen, np.concatenate([chosen[: pair.common], own])

    def segments(self, number: int) -> tuple[int, int]:
        """Both texts are of one segment; branches keep them apart."""
        return number + 1, number + 1


LAYOUTS: dict[str, type[Layout]] = {"padded": Padded, "packed": Packed, "shared": Shared}


def layout_of(
    config: DataConfig,
    label_sides: tuple[Side, ...] = ("chosen",),
    companions: tuple[Companion, ...] = (),
) -> Layout:
    """The layout that config.layout names, with labels of these sides and these companions."""
    return LAYOUTS[config.layout](config, label_sides, companions)


def _span(start: int, length: int) -> np.ndarray:
    return np.arange(start, start + length, dtype=np.int32)
