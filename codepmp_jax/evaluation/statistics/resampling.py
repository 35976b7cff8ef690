"""Intervals and tests by resampling problems or pairs: bootstrap, paired differences, sign flips.

P problems or pairs, C columns of figures, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from codepmp_jax.cli.errors import require

CONFIDENCE = 0.95
# Entries of a block of resamples, so that memory does not grow with their number.
_BLOCK_ENTRIES = 2**22


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much one figure exceeds another on the same problems."""

    mean: float
    interval: Interval
    p_value: float


def _blocks(num_items: int, num_resamples: int) -> Iterator[int]:
    """Numbers of resamples that are drawn at once; they add up to `num_resamples`."""
    at_once = max(1, _BLOCK_ENTRIES // num_items)
    for start in range(0, num_resamples, at_once):
        yield min(at_once, num_resamples - start)


def resampled_means(
    values: Shaped[np.ndarray, "P C"], num_resamples: int = 1000, seed: int = 0
) -> Float[np.ndarray, "R C"]:
    """The columns' means in each of R bootstrap resamples, P rows drawn with replacement.

    The columns of a resample share its rows, so that figures of the same problems stay paired. Raises
    UserError where there is nothing to resample.
    """
    num_items = len(values)
    require(num_items > 0, "values", num_items, "must not be empty", "score something")
    generator = np.random.default_rng(seed)
    means = []
    for rows in _blocks(num_items, num_resamples):
        drawn = generator.integers(num_items, size=(rows, num_items))
        drawn += num_items * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_items)
        means.append(counts.reshape(rows, num_items).astype(np.float64) @ values / num_items)
    return np.concatenate(means)


def percentile_interval(
    samples: Shaped[np.ndarray, "R"], confidence: float = CONFIDENCE
) -> Interval:
    """Percentile interval of bootstrap samples; those that are NaN, ratios of 0 to 0, are left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return Interval(float(low), float(high))


def mean_interval(
    values: Shaped[np.ndarray, "P"], num_resamples: int = 1000, seed: int = 0
) -> Interval:
    """95 % bootstrap interval of the mean of one figure. Raises UserError where there is nothing to resample.

    Rows drawn with replacement hold each distinct value a multinomial number of times: wins, of three
    values, take no longer for more of them.
    """
    num_items = len(values)
    require(num_items > 0, "values", num_items, "must not be empty", "score something")
    distinct, counts = np.unique(values, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(num_items, counts / num_items, size=num_resamples)
    return percentile_interval(drawn @ distinct / num_items)


def paired_differences(
    first: Shaped[np.ndarray, "P C"],
    second: Shaped[np.ndarray, "P C"],
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """mean(second) - mean(first) of each column, whose rows are the same problems in both.

    The interval is the 95 % bootstrap interval of the mean difference of a problem. The p-value is that of
    the sign-flip test: the share of random signs of the problems' differences, the actual ones among them,
    that give a mean at least as far from 0. It is no smaller than 1 / (R + 1).
    """
    differences = np.asarray(second, np.float64) - first
    means = differences.mean(0)
    samples = resampled_means(differences, num_resamples, seed)
    # Not the bootstrap's stream: the two are to be independent.
    generator = np.random.default_rng([seed, 1])
    # Sums in another order differ in their last bits: as far away is what all but reaches it.
    reached = np.abs(means) * (1 - 1e-9)
    num_extreme = np.ones(len(means))
    for rows in _blocks(len(differences), num_resamples):
        signs = 2.0 * generator.integers(2, size=(rows, len(differences)), dtype=np.int8) - 1
        num_extreme += (np.abs(signs @ differences) / len(differences) >= reached).sum(0)
    return [
        Difference(float(mean), percentile_interval(column), float(count / (num_resamples + 1)))
        for mean, column, count in zip(means, samples.T, num_extreme, strict=True)
    ]
