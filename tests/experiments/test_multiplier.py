"""The data multiplier on curves whose multiplier is known, and the coverage of its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.multiplier_coverage import World, simulate
from codepmp_jax.experiments.multiplier import (
    Curve,
    Multiplier,
    find_multiplier,
    log_multipliers,
    mean_log_multiplier,
    overlap_of,
)

SIZES = 25.0 * 2 ** np.arange(6)


def curve(values, sizes=None) -> Curve:
    sizes = 25.0 * 2 ** np.arange(len(values)) if sizes is None else sizes
    found = Curve.of(np.log(sizes), np.array(values, float), np.ones(len(values)))
    assert found is not None
    return found


def multiplier(reference, other, sizes=None) -> float:
    low, high = mean_log_multiplier(curve(reference, sizes), curve(other, sizes))
    assert low == high
    return math.exp(low)


def found(reference, other, noise: float = 0.0, sizes=SIZES) -> Multiplier:
    """With resamples that are the curves and a little noise."""
    reference, other = np.array(reference, float), np.array(other, float)
    generator = np.random.default_rng(0)
    samples = [
        curve + noise * generator.normal(size=(200, len(sizes))) for curve in (reference, other)
    ]
    return find_multiplier(sizes, reference, other, *samples, names=("base", "pmp"))


rises = st.lists(st.floats(0.01, 0.2), min_size=6, max_size=9)


# --- exact values ---------------------------------------------------------------------------------


@given(st.floats(0.05, 20), st.floats(0.01, 0.1))
def test_straight_curves_give_the_multiplier_itself(true, slope):
    """Accuracies that are linear in log pairs are fitted exactly, whatever the multiplier."""
    log_sizes = np.log(SIZES)
    reference = slope * (log_sizes - math.log(true))
    assert multiplier(reference, slope * log_sizes) == pytest.approx(true, rel=1e-6)


@given(st.lists(st.floats(0.01, 0.2), min_size=8, max_size=12), st.integers(1, 3))
def test_a_curve_of_any_form_that_is_moved_by_whole_sizes(steps, moved):
    """A reference that lags by m sizes, each twice the one before, needs 2^m times the pairs."""
    values = np.cumsum(steps)
    sizes = 25.0 * 2 ** np.arange(len(steps) - moved)
    assert multiplier(values[:-moved], values[moved:], sizes) == pytest.approx(2**moved, rel=1e-6)


@given(rises, rises, st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-1, 1))
def test_units_do_not_count(first, second, unit, height, shift):
    """Sizes in other units, and accuracy stretched or shifted, give the same multiplier."""
    length = min(len(first), len(second))
    first, second = np.cumsum(first)[:length], np.cumsum(second)[:length]
    sizes = 10.0 * 3 ** np.arange(length)
    before = mean_log_multiplier(curve(first, sizes), curve(second, sizes))
    after = mean_log_multiplier(
        curve(height * first + shift, unit * sizes), curve(height * second + shift, unit * sizes)
    )
    assert after == pytest.approx(before, abs=1e-6)


@given(rises, rises)
def test_the_other_way_round_it_is_the_inverse(first, second):
    length = min(len(first), len(second))
    one, other = (curve(np.cumsum(steps)[:length]) for steps in (first, second))
    low, high = mean_log_multiplier(one, other)
    assert mean_log_multiplier(other, one) == pytest.approx((-high, -low))


@settings(max_examples=30)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_the_smallest_size_that_reaches_a_target_is_found(values, targets):
    """Against a search along the fit."""
    sizes = 2.0 ** np.arange(len(values))
    fit = curve(values, sizes)
    dense = np.linspace(fit.log_sizes[0], fit.log_sizes[-1], 20_001)
    along = np.interp(dense, fit.log_sizes, fit.fit)
    low, high = fit.log_size(np.array(targets))
    for target, lower, upper in zip(targets, low, high, strict=True):
        reached = np.flatnonzero(along >= target)
        if target > fit.fit[-1]:
            assert (lower, upper) == (fit.log_sizes[-1], math.inf)
        elif target < fit.fit[0]:
            assert (lower, upper) == (-math.inf, fit.log_sizes[0])
        elif len(reached) and min(abs(fit.fit - target)) > 1e-6:
            assert lower == upper == pytest.approx(dense[reached[0]], abs=2e-3)


def test_a_curve_that_falls_is_fitted_by_one_that_does_not():
    assert curve([0.5, 0.7, 0.6, 0.8, 0.9, 0.9]).fit == pytest.approx(
        [0.5, 0.65, 0.65, 0.8, 0.9, 0.9]
    )


def test_seeds_weight_the_fit():
    fit = Curve.of(np.log(SIZES[:2]), np.array([0.8, 0.6]), np.array([3.0, 1.0]))
    assert fit is not None
    assert fit.fit == pytest.approx([0.75, 0.75])


def test_the_multiplier_along_the_targets():
    reference, other = curve([0.5, 0.6, 0.7]), curve([0.6, 0.7, 0.8])
    assert overlap_of(reference, other) == pytest.approx((0.6, 0.7))
    low, high = log_multipliers(reference, other, np.array([0.55, 0.6, 0.65, 0.7, 0.75]))
    assert np.exp(low[1:4]) == pytest.approx([2, 2, 2])
    assert np.exp(high[1:4]) == pytest.approx([2, 2, 2])
    # Below it the other needs at most 25 pairs, above it the reference more than 100.
    assert math.exp(low[0]) == pytest.approx(2**0.5)
    assert high[0] == math.inf
    assert math.exp(low[4]) == pytest.approx(100 / (50 * 2**0.5))
    assert high[4] == math.inf


# --- what cannot be told --------------------------------------------------------------------------


def test_an_estimate_with_its_interval():
    result = found(0.1 * np.arange(6), 0.1 * np.arange(6) + 0.2, noise=0.005)
    assert result.reason == ""
    assert result.low is not None
    assert result.high is not None
    assert result.estimate is not None
    assert result.low < 4 < result.high
    assert 3.6 < result.estimate < 4.4
    assert result.text() == f"{result.estimate:.2g}x ({result.low:.2g}x to {result.high:.2g}x)"
    assert [row["accuracy"] for row in result.targets] == pytest.approx(
        np.linspace(result.overlap[0], result.overlap[1], 25)
    )


def test_curves_that_do_not_overlap_give_a_bound():
    low, high = np.linspace(0.5, 0.6, 6), np.linspace(0.7, 0.9, 6)
    result = found(low, high, noise=0.001)
    assert result.text() == "at least 32x"
    assert result.reason == "no overlap: base reaches 50.0% to 60.0%, pmp 70.0% to 90.0%"
    assert found(high, low, noise=0.001).text() == f"at most {1 / 32:.2g}x"


def test_a_gap_within_the_noise_gives_a_weaker_bound_or_none():
    low, high = np.linspace(0.5, 0.6, 6), np.linspace(0.605, 0.7, 6)
    result = found(low, high, noise=0.02)
    assert result.estimate is None
    assert result.low is None or result.low < 32


@pytest.mark.parametrize("flat", [0, 1])
def test_a_curve_that_does_not_rise_tells_nothing(flat):
    curves = [np.linspace(0.5, 0.9, 6), np.linspace(0.5, 0.9, 6)]
    curves[flat] = 0.6 + 0.001 * np.arange(6)
    result = found(*curves, noise=0.02)
    assert result.text() == "cannot be told"
    name = ("base", "pmp")[flat]
    assert result.reason.startswith(f"the accuracy of {name} does not rise from 25 to 800 pairs")
    assert result.low is result.high is None


def test_sizes_that_are_missing():
    reference, other = np.linspace(0.5, 0.9, 6), np.linspace(0.6, 1.0, 6)
    other[[1, 4]] = np.nan
    assert found(reference, other, noise=0.001).estimate == pytest.approx(2**1.25, rel=0.02)
    other[1:] = np.nan
    result = found(reference, other, noise=0.001)
    assert result.text() == "cannot be told"
    assert "fewer than two sizes" in result.reason


def test_two_flat_curves_of_one_height():
    result = found(np.full(6, 0.5), np.full(6, 0.5))
    assert (result.text(), result.low, result.high) == ("cannot be told", None, None)


# --- coverage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "fewest", "most"),
    [
        # Of 120 experiments an interval of 95 % holds the truth in 107 to 120, but for one time in a thousand.
        (World(multiplier=3.0, num_problems=200), 107, 120),
        (World(multiplier=1.0, num_problems=200, num_seeds=4), 107, 120),
    ],
)
def test_the_interval_holds_the_true_multiplier_as_often_as_it_says(world, fewest, most):
    tally = simulate(world, num_experiments=120, num_resamples=150)
    assert tally.told == 120
    assert fewest <= tally.held <= most
    assert abs(np.mean(tally.log_estimates)) < 0.15


def test_curves_at_chance_are_not_told():
    tally = simulate(World(height=0.0, num_problems=200), 40, 150)
    assert tally.told <= 4
