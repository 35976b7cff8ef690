"""What rows are packed from: items of texts as tokens, and the arrays that an objective adds to them.

An item is a pair (tokenized_pair.py), or one text: a piece of a document, or a response with its prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import numpy as np
from jaxtyping import Int32

from codepmp_jax.records.schema import Record
from codepmp_jax.text.tokenization import NO_GAPS, Remark

ItemUnit = Literal["pairs", "pieces", "responses"]
"""What the items of a batch are: pairs of texts, pieces of documents, or single responses with their prompts."""
Unit = Literal["pairs", "pieces", "responses", "labels"]
"""What a number belongs to, and a mean is taken over: the items of a batch, or its labels."""
Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
ItemT = TypeVar("ItemT", bound="TokenizedItem")


class TokenizedItem:
    """Base of the items, which are frozen dataclasses: texts that fit a row together, each with tokens."""

    label_starts: tuple[int, ...]
    """Of each text the index of its first label: at least 1, since a label needs a token before it; at most the text's
    length, where it has none."""
    common: int
    """Tokens that all texts begin with; 0 where there is one text."""
    margin: float
    """How much better the first text is than the second; 0 where there is one text."""
    companions: dict[str, np.ndarray]
    """By name: of an item's shape, or (num_labels, ...) in the order of the labels."""
    gaps: tuple[Int32[np.ndarray, "_ 2"], ...]
    """Of each text, spans (first, stop) of tokens behind the first label that are no labels: what is not the
    assistant's."""
    remarks: frozenset[Remark]
    """What one of the texts lacks."""
    source: str
    """Name of the record's source in a mixture; empty without one."""

    @property
    def record_id(self) -> str:
        """Of the record that the item is made of."""
        raise NotImplementedError

    @property
    def texts(self) -> tuple[Int32[np.ndarray, " _"], ...]:
        """The tokens of each text."""
        raise NotImplementedError

    def labelled(
        self, sides: tuple[Side, ...] = ("chosen",)
    ) -> list[tuple[int, Int32[np.ndarray, " _"], Int32[np.ndarray, " _"]]]:
        """(index, tokens, indices of the labels) of each text of these sides. An only text is of every side."""
        texts = self.texts
        return [
            (i, text, self._labels(i, len(text)))
            for i, text in enumerate(texts)
            if len(texts) == 1 or SIDES[i] in sides
        ]

    def num_labels(self, sides: tuple[Side, ...] = ("chosen",)) -> int:
        """Labels of the texts of these sides."""
        return sum(len(labels) for _, _, labels in self.labelled(sides))

    def _labels(self, text: int, length: int) -> Int32[np.ndarray, " C"]:
        """Indices of the labels of a text of that length."""
        is_label = np.arange(length) >= self.label_starts[text]
        for first, stop in self.gaps[text]:
            is_label[first:stop] = False
        return np.flatnonzero(is_label).astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedText(TokenizedItem):
    """An item of one text, or of a piece of it."""

    text_id: str
    tokens: Int32[np.ndarray, " L"]
    label_starts: tuple[int] = (1,)
    first: int = 0
    """Index in the whole text of the piece's first token."""
    companions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    gaps: tuple[Int32[np.ndarray, "G 2"]] = (NO_GAPS,)
    remarks: frozenset[Remark] = frozenset()
    source: str = ""
    common: int = dataclasses.field(default=0, init=False)
    margin: float = dataclasses.field(default=0.0, init=False)

    @property
    def record_id(self) -> str:
        """As in TokenizedItem."""
        return self.text_id

    @property
    def texts(self) -> tuple[Int32[np.ndarray, " _"], ...]:
        """As in TokenizedItem."""
        return (self.tokens,)


@dataclasses.dataclass(frozen=True)
class Companion:
    """Numbers that an objective needs with each item or label, e.g. log-probs of a reference model.

    They are made where records are tokenized, in the workers, and packed with the item's row.
    """

    name: str
    unit: Unit
    """The objective's item, or `labels`."""
    make: Callable[[Any, Any], Any]
    """(record, item) -> the item's array: of `shape`, or (num_labels, *shape) in the order of the labels. Picklable."""
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


def with_companions(item: ItemT, record: Record, companions: tuple[Companion, ...]) -> ItemT:
    """The item with the arrays that `companions` make of it."""
    arrays = {one.name: np.asarray(one.make(record, item), one.dtype) for one in companions}
    return dataclasses.replace(cast(Any, item), companions=arrays)
