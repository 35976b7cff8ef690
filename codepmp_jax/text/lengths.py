"""Lengths of pairs as code preference data has them, and of documents, for estimates and benchmarks without data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64


class PairLengths(NamedTuple):
    """Tokens of N pairs."""

    prompt: Int64[np.ndarray, " N"]
    chosen: Int64[np.ndarray, " N"]
    """Of the response alone, as in `rejected`."""
    rejected: Int64[np.ndarray, " N"]


def draw_lengths(num_pairs: int, max_length: int, seed: int = 0) -> PairLengths:
    """Log-normal lengths: with max_length 1024 a median of 85 tokens for prompts and of 205 for responses,
    358 tokens a text on average. Another max_length scales them. Every text fits it.
    """
    rng = np.random.default_rng(seed)
    scale = max_length / 1024

    def draw(median: float, sigma: float, least: float, most: float) -> Int64[np.ndarray, " N"]:
        drawn = rng.lognormal(np.log(median), sigma, num_pairs)
        scaled = np.clip(drawn, least, most) * scale
        return np.maximum(1, scaled.astype(np.int64))

    prompt = draw(85.0, 0.7, 10.0, 600.0)
    responses = [np.minimum(draw(205.0, 0.65, 8.0, 1024.0), max_length - prompt) for _ in range(2)]
    return PairLengths(prompt, *responses)


def draw_document_lengths(num_documents: int, seed: int = 0) -> Int64[np.ndarray, " N"]:
    """Log-normal lengths of source files, in tokens: a median of 500, a mean of about 1000, at most 32768."""
    drawn = np.random.default_rng(seed).lognormal(np.log(500.0), 1.2, num_documents)
    return np.clip(drawn, 2, 32768).astype(np.int64)
