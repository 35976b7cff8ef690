"""A pair as tokens."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int32

from codepmp_jax.data.tokenized_item import TokenizedItem
from codepmp_jax.text.tokenization import NO_GAPS, Remark


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedPair(TokenizedItem):
    """A pair that fits a row; both texts have tokens."""

    pair_id: str
    margin: float
    chosen: Int32[np.ndarray, " L1"]
    rejected: Int32[np.ndarray, " L2"]
    label_starts: tuple[int, int]
    common: int
    companions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    gaps: tuple[Int32[np.ndarray, "G1 2"], Int32[np.ndarray, "G2 2"]] = (NO_GAPS, NO_GAPS)
    remarks: frozenset[Remark] = frozenset()
    source: str = ""

    @property
    def record_id(self) -> str:
        """As in TokenizedItem."""
        return self.pair_id

    @property
    def texts(self) -> tuple[Int32[np.ndarray, " _"], ...]:
        """Chosen and rejected."""
        return self.chosen, self.rejected


def common_length(a: Int32[np.ndarray, " L1"], b: Int32[np.ndarray, " L2"]) -> int:
    """How many tokens `a` and `b` begin with alike."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter
