"""Means over seeds and problems, and their resamples: every seed is evaluated on the same problems.

S seeds, P problems, C figures (columns), R resamples. A resample is

    mean + (mean over drawn seeds - mean) + (mean over drawn problems - mean)

where S - 1 of the S seeds (of one seed, that one) and P of the P problems are drawn with replacement, independently of
one another. All columns of a resample share its draws, so that differences between columns are paired by both.

Each resample thus weights what seed i does on problem j by u_i + v_j - 1, where u and v say how often they were drawn.
Of all weights that give the variance of seeds and that of problems their due, these have the least variance: they
count what is peculiar to one seed on one problem twice, where the product u_i * v_j (Owen, 2007, "The pigeonhole
bootstrap") counts it three times; an interval may be too wide, not too narrow. S draws of few seeds would understate
their variance by (S - 1) / S; S - 1 draws do not (Rao and Wu, 1988). Few seeds remain few: see
benchmarks/results/multiplier_coverage.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from codepmp_jax.cli.errors import require

# Entries of a block of resamples, so that memory does not grow with their number.
_BLOCK_ENTRIES = 2**22


@dataclasses.dataclass(frozen=True)
class Crossed:
    """Sums over the items of each problem, e.g. wins over its pairs."""

    sums: Shaped[np.ndarray, "C S P"]
    """NaN throughout where a seed has not been evaluated."""
    counts: Shaped[np.ndarray, "P"]
    """Items of each problem."""

    def __post_init__(self) -> None:
        require(self.sums.size > 0, "values", 0, "must not be empty", "evaluate something")

    @property
    def is_there(self) -> np.ndarray:
        """Which seeds of which columns have been evaluated, [C S]."""
        return np.isfinite(self.sums).all(axis=2)  # pyright: ignore[reportReturnType]

    def part(self, columns: Sequence[int]) -> Crossed:
        """These columns, of the seeds that all of them have. Raises UserError where there is none."""
        held = self.is_there[list(columns)].all(0)
        return Crossed(self.sums[list(columns)][:, held], self.counts)

    def by_seed(self) -> Float[np.ndarray, "C S"]:
        """Mean over items of each seed; NaN where there is none."""
        return self.sums.sum(2) / self.counts.sum()

    def means(self) -> Float[np.ndarray, "C"]:
        """Mean over seeds and items; NaN for a column without a seed."""
        there = self.is_there
        totals = np.where(there, self.by_seed(), 0).sum(1)
        return np.divide(totals, there.sum(1), out=np.full(len(totals), np.nan), where=there.any(1))

    def resampled_means(self, num_resamples: int = 1000, seed: int = 0) -> Float[np.ndarray, "R C"]:
        """The means in each of R resamples; NaN where a resample has no seed of a column."""
        _, num_seeds, num_problems = self.sums.shape
        generator = np.random.default_rng(seed)
        draws = max(1, num_seeds - 1)
        drawn = _drawn(generator, num_resamples, num_seeds, draws)
        there = self.is_there.T.astype(np.float64)
        sizes = drawn @ there
        by_seeds = _ratio(drawn @ np.nan_to_num(self.by_seed()).T, sizes)
        # Of each problem, the mean over the seeds that are there: [P C].
        of_problems = _ratio(np.nan_to_num(self.sums).sum(1).T, there.sum(0))
        block = max(1, _BLOCK_ENTRIES // num_problems)
        by_problems = []
        for start in range(0, num_resamples, block):
            size = min(block, num_resamples - start)
            rows = _drawn(generator, size, num_problems, num_problems)
            by_problems.append((rows @ of_problems) / (rows @ self.counts)[:, None])
        return by_seeds + np.concatenate(by_problems) - self.means()


def _drawn(generator: np.random.Generator, size: int, num_items: int, draws: int) -> np.ndarray:
    """How often each item is drawn in each of `size` resamples, [size num_items]."""
    shares = np.full(num_items, 1 / num_items)
    return generator.multinomial(draws, shares, size=size).astype(np.float64)


def _ratio(totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """totals / sizes; NaN where a size is 0."""
    sizes = np.broadcast_to(sizes, totals.shape)
    return np.divide(totals, sizes, out=np.full(totals.shape, np.nan), where=sizes > 0)
