"""A pair as tokens, and the arrays that an objective adds to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import NO_GAPS, Remark

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
Unit = Literal["pairs", "labels"]
"""What a number belongs to, and a mean is taken over: the pairs of a batch, or its labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedPair:
    """A pair that fits a row; both texts have tokens."""

    pair_id: str
    margin: float
    chosen: Int32[np.ndarray, " L1"]
    rejected: Int32[np.ndarray, " L2"]
    label_starts: tuple[int, int]
    """Indices of the first labels of chosen and of rejected: at least 1, since a label needs a token before it;
    at most the text's length, where it has none."""
    common: int
    """Tokens that both texts begin with."""
    companions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """By name: of a pair's shape, or (num_labels, ...) in the order of the labels."""
    gaps: tuple[Int32[np.ndarray, "G1 2"], Int32[np.ndarray, "G2 2"]] = (NO_GAPS, NO_GAPS)
    """Of chosen and of rejected, spans (first, stop) of tokens behind the first label that are no labels: what is
    not the assistant's."""
    remarks: frozenset[Remark] = frozenset()
    """What one of the texts lacks."""
    source: str = ""
    """Name of the source in a mixture."""

    def num_labels(self, sides: tuple[Side, ...] = ("chosen",)) -> int:
        """Labels of the texts of these sides."""
        return sum(len(labels) for _, _, labels in self.labelled(sides))

    def labelled(
        self, sides: tuple[Side, ...]
    ) -> list[tuple[int, Int32[np.ndarray, " L"], Int32[np.ndarray, " C"]]]:
        """(index of the side, tokens, indices of the labels) of each of these sides."""
        texts = (self.chosen, self.rejected)
        return [
            (i, texts[i], self._labels(i, len(texts[i])))
            for i, side in enumerate(SIDES)
            if side in sides
        ]

    def _labels(self, side: int, length: int) -> Int32[np.ndarray, " C"]:
        """Indices of the labels of a text of that length."""
        is_label = np.arange(length) >= self.label_starts[side]
        for first, stop in self.gaps[side]:
            is_label[first:stop] = False
        return np.flatnonzero(is_label).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Companion:
    """Numbers that an objective needs with each pair or label, e.g. log-probs of a reference model.

    They are made where pairs are tokenized, in the workers, and packed with the pair's row.
    """

    name: str
    unit: Unit
    make: Callable[[PreferencePair, TokenizedPair], Any]
    """The array of a pair: of `shape`, or (num_labels, *shape) in the order of the labels. Picklable."""
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


def with_companions(
    pair: TokenizedPair, record: PreferencePair, companions: tuple[Companion, ...]
) -> TokenizedPair:
    """The pair with the arrays that `companions` make of it."""
    arrays = {one.name: np.asarray(one.make(record, pair), one.dtype) for one in companions}
    return dataclasses.replace(pair, companions=arrays)


def common_length(a: Int32[np.ndarray, " L1"], b: Int32[np.ndarray, " L2"]) -> int:
    """How many tokens `a` and `b` begin with alike."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter
