"""Means over seeds and problems against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.statistics.crossed import Crossed


def crossed(*shape: int, seed: int = 0) -> Crossed:
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 4, size=shape[-1]).astype(float)
    return Crossed(generator.uniform(size=shape) * counts, counts)


def test_means_are_over_items_then_seeds():
    values = Crossed(np.array([[[1.0, 3.0], [0.0, 4.0]]]), np.array([1.0, 3.0]))
    assert values.by_seed().tolist() == [[1.0, 1.0]]
    assert values.means().tolist() == [1.0]


def test_a_seed_that_is_missing_is_left_out():
    values = crossed(3, 4, 5)
    values.sums[0, 1] = np.nan
    values.sums[2] = np.nan
    assert values.means()[0] == pytest.approx(values.by_seed()[0, [0, 2, 3]].mean())
    assert np.isnan(values.means()[2])
    part = values.part([0, 1])
    assert part.sums.shape == (2, 3, 5)
    assert not np.isnan(part.resampled_means(50)).any()
    assert np.isnan(values.resampled_means(50)[:, 2]).all()
    with pytest.raises(UserError, match="must not be empty"):
        values.part([0, 2])


@pytest.mark.parametrize("shape", [(2, 1, 4), (2, 2, 3), (1, 3, 3)])
def test_resamples_have_the_distribution_of_all_draws(shape):
    """Mean and covariance over every draw of S - 1 seeds and of P problems, each as likely."""
    values = crossed(*shape)
    columns, num_seeds, num_problems = shape
    mean = values.means()
    draws = itertools.product(range(num_seeds), repeat=max(1, num_seeds - 1))
    by_seeds = np.array([values.by_seed()[:, list(seeds)].mean(1) for seeds in draws]) - mean
    draws = itertools.product(range(num_problems), repeat=num_problems)
    by_problems = (
        np.array(
            [
                values.sums[:, :, list(rows)].sum(2).mean(1) / values.counts[list(rows)].sum()
                for rows in draws
            ]
        )
        - mean
    )
    every = (mean + by_seeds[:, None] + by_problems).reshape(-1, columns)
    samples = values.resampled_means(20_000)
    assert samples.shape == (20_000, columns)
    error = 4 * every.std(0) / np.sqrt(len(samples))
    assert np.abs(samples.mean(0) - every.mean(0)).max() < error.max()
    scale = every.var(0).max()
    assert np.cov(samples.T) == pytest.approx(np.cov(every.T), abs=0.03 * scale)
    # No sample is one that no draw gives.
    assert (np.abs(every[:, None] - samples[:300]).max(2).min(0) < 1e-9).all()


def test_the_variance_of_seeds_is_not_understated():
    """Where problems do not differ, that of the mean is the seeds' sample variance divided by their number."""
    by_seed = np.random.default_rng(0).normal(size=(1, 5, 1))
    values = Crossed(np.repeat(by_seed, 3, axis=2), np.ones(3))
    samples = values.resampled_means(100_000)
    assert samples.var() == pytest.approx(by_seed.var(ddof=1) / 5, rel=0.02)


def test_columns_share_their_draws():
    values = crossed(1, 4, 20)
    twice = Crossed(np.concatenate([values.sums, values.sums]), values.counts)
    samples = twice.resampled_means(100)
    assert np.array_equal(samples[:, 0], samples[:, 1])


def test_blocks_do_not_change_the_draws_of_seeds(monkeypatch):
    from codepmp_jax.evaluation.statistics import crossed as module

    values = crossed(2, 3, 40)
    whole = values.resampled_means(64)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 40 * 7)
    assert values.resampled_means(64) == pytest.approx(whole)
