"""Means over seeds and problems, and their resamples: every seed is evaluated on the same problems.

S seeds, P problems, C figures (columns), R resamples. A resample draws problems with replacement, and independently of
them S - 1 of the S seeds with replacement (of one seed, that one). All columns of a resample share its seeds and
problems, so that differences between columns are paired by both.

That seeds and problems are drawn independently of one another is the bootstrap for crossed factors (Owen, 2007,
"The pigeonhole bootstrap"), which does not understate a variance. S draws of few seeds would understate theirs by
(S - 1) / S; S - 1 draws do not (Rao and Wu, 1988). Few seeds remain few: see benchmarks/results/multiplier_coverage.md.
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
        num_columns, num_seeds, num_problems = self.sums.shape
        generator = np.random.default_rng(seed)
        drawn_seeds = generator.multinomial(
            max(1, num_seeds - 1), np.full(num_seeds, 1 / num_seeds), size=num_resamples
        )
        sums = np.nan_to_num(self.sums).reshape(-1, num_problems).T
        samples = []
        block = max(1, _BLOCK_ENTRIES // num_problems)
        for start in range(0, num_resamples, block):
            weights = drawn_seeds[start : start + block].astype(np.float64)
            rows = generator.multinomial(
                num_problems, np.full(num_problems, 1 / num_problems), size=len(weights)
            ).astype(np.float64)
            means = (rows @ sums) / (rows @ self.counts)[:, None]
            # [R C S]: the seeds that are there, by how often they were drawn.
            drawn = weights[:, None] * self.is_there
            totals = (means.reshape(-1, num_columns, num_seeds) * drawn).sum(2)
            sizes = drawn.sum(2)
            samples.append(
                np.divide(totals, sizes, out=np.full(totals.shape, np.nan), where=sizes > 0)
            )
        return np.concatenate(samples)
