import itertools

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.statistics import resampling
from codepmp_jax.evaluation.statistics.resampling import (
    mean_interval,
    paired_differences,
    percentile_interval,
    resampled_means,
)


def one_difference(first, second, **settings):
    (difference,) = paired_differences(first[:, None], second[:, None], **settings)
    return difference


def test_means_of_resamples_are_those_of_drawn_rows():
    values = np.array([[0.0, 10.0], [1.0, 11.0], [5.0, 15.0]])
    means = resampled_means(values, num_resamples=500)
    possible = {round(sum(rows) / 3, 9) for rows in itertools.product([0.0, 1.0, 5.0], repeat=3)}
    assert {round(mean, 9) for mean in means[:, 0]} == possible
    # The columns share their rows.
    np.testing.assert_allclose(means[:, 1], means[:, 0] + 10)
    # Bootstrap theory: centred on the mean, with the variance of a mean of P.
    assert means[:, 0].mean() == pytest.approx(2, abs=4 * values[:, 0].std() / np.sqrt(3 * 500))
    assert means[:, 0].var() == pytest.approx(values[:, 0].var() / 3, rel=0.25)


def test_blocks_do_not_show(monkeypatch):
    values = np.random.default_rng(0).random((50, 2))
    whole = resampled_means(values, num_resamples=101)
    monkeypatch.setattr(resampling, "_BLOCK_ENTRIES", 500)
    blocked = resampled_means(values, num_resamples=101)
    # Products of matrices of another size may round otherwise, in the last bit.
    np.testing.assert_allclose(blocked, whole, rtol=1e-14)
    assert not np.allclose(resampled_means(values, num_resamples=101, seed=1), whole)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        low, high = mean_interval(generator.random(80) < 0.7, num_resamples=300, seed=seed)
        covered += low <= 0.7 <= high
    # 95 % of 400, within three standard errors and the percentile interval's known shortfall.
    assert 0.91 <= covered / 400 <= 0.98


def test_the_interval_is_of_the_percentiles_and_passes_over_nan():
    samples = np.array([*range(101), np.nan], float)
    assert percentile_interval(samples, confidence=0.9) == pytest.approx((5, 95))


def test_the_paired_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        ability = generator.normal(size=60)
        first = ability + generator.normal(size=60)
        second = ability + 0.3 + generator.normal(size=60)
        low, high = one_difference(first, second, num_resamples=300, seed=seed).interval
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 300 <= 0.985


def test_pairing_narrows_the_interval_as_theory_says():
    generator = np.random.default_rng(2)
    # Correlation 0.9: the variance of a difference is a tenth of that of independent ones.
    common = generator.normal(size=4000) * np.sqrt(0.9)
    first, second = (common + generator.normal(size=4000) * np.sqrt(0.1) for _ in range(2))
    low, high = one_difference(first, second).interval
    unpaired_low, unpaired_high = one_difference(first, generator.permutation(second)).interval
    ratio = (high - low) / (unpaired_high - unpaired_low)
    assert ratio == pytest.approx(np.sqrt(0.1), rel=0.15)


def test_the_difference_is_second_minus_first_and_its_columns_are_apart():
    first = np.array([[0.0, 1.0], [1.0, 0.5]])
    second = np.array([[1.0, 1.0], [1.0, 0.0]])
    differences = paired_differences(first, second)
    assert [difference.mean for difference in differences] == [0.5, -0.25]
    assert differences[0].interval == (0, 1)
    assert differences[1].interval == (-0.5, 0)


def test_the_p_value_is_that_of_all_sign_flips():
    differences = np.array([0.5, -0.25, 1.0, 0.75, 0.1, -0.05, 0.3])
    flips = np.array(list(itertools.product([-1, 1], repeat=7))) @ differences
    exact = np.mean(np.abs(flips) >= differences.sum() - 1e-12)
    found = one_difference(np.zeros(7), differences, num_resamples=20_000).p_value
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_p_values_are_uniform_where_there_is_no_difference():
    generator = np.random.default_rng(3)
    values = [
        one_difference(*generator.normal(size=(2, 30)), num_resamples=200, seed=seed).p_value
        for seed in range(200)
    ]
    for level in (0.1, 0.5, 0.9):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.11)


def test_equal_models_do_not_differ():
    values = np.random.default_rng(0).random(20)
    assert one_difference(values, values) == (0, (0, 0), 1)


@pytest.mark.parametrize("num_values", [3, 1000])
def test_the_interval_of_a_mean_is_that_of_resampled_rows(num_values):
    values = np.random.default_rng(0).integers(num_values, size=60) / num_values
    by_rows = percentile_interval(resampled_means(values[:, None], 20_000)[:, 0])
    width = by_rows.high - by_rows.low
    assert mean_interval(values, 20_000) == pytest.approx(by_rows, abs=0.03 * width)


def test_nothing_to_resample_is_refused():
    with pytest.raises(UserError, match="must not be empty"):
        mean_interval(np.zeros(0))
    with pytest.raises(UserError, match="must not be empty"):
        resampled_means(np.zeros((0, 1)))
