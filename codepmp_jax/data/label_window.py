"""Which tokens of a text with a prompt and a response are labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32

from codepmp_jax.config import DataConfig
from codepmp_jax.text.tokenization import NO_GAPS, EncodedText


def label_start(text: EncodedText, length: int, config: DataConfig) -> int:
    """Index of the first label of `text` cut to `length` tokens.

    The paper's window is as long as the response encoded on its own and ends with the text: where the
    text was cut it reaches into the prompt by as much, as in the authors' code.
    """
    if config.response_window == "paper":
        assert text.num_response_tokens is not None
        return min(max(1, length - text.num_response_tokens), length)
    return min(max(1, text.response_start), length)


def label_gaps(text: EncodedText, length: int, config: DataConfig) -> Int32[np.ndarray, "G 2"]:
    """Spans of tokens behind the first label of `text` cut to `length` that are no labels: what is not the
    assistant's, but for the paper's window, which has none."""
    if config.response_window == "paper":
        return NO_GAPS
    return np.minimum(text.gaps, length)
