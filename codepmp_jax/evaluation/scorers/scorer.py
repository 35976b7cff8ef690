"""The interface of what scores rows of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from codepmp_jax.text.forms import TextForm
from codepmp_jax.text.tokenization import Tokenizer

Scored = Iterator[tuple[list[int], np.ndarray]]
"""(indices of some rows, their rewards in float32), in the order in which they are computed."""


@runtime_checkable
class Scorer(Protocol):
    """A reward model with its tokenizer and the form of its texts."""

    tokenizer: Tokenizer
    form: TextForm
    vocab_size: int
    """Tokens that the model has embeddings for."""
    facts: dict[str, Any]
    """Everything but the texts that rewards depend on, as JSON values."""
    num_computed: int
    """Tokens computed so far, padding included."""
    is_main: bool
    """Whether this process writes; of several hosts one does."""

    def rewards(self, rows: Sequence[np.ndarray]) -> Scored:
        """The reward of each row of tokens (int [L]), which does not depend on the other rows.

        No two rows are equal, and none is empty. Every host gives the same rows and gets all rewards.
        """
        ...

    def agreed(self, values: np.ndarray) -> np.ndarray:
        """The main process's values, on every host."""
        ...
