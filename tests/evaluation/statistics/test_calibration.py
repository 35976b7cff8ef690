import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from codepmp_jax.evaluation.statistics import calibration

gap_lists = st.lists(st.floats(-30, 30), min_size=1, max_size=40).map(np.array)


def calibrated_gaps(num_pairs, scale=1.5, temperature=1.0, seed=0):
    """Gaps of a model whose sigmoid(gap / temperature) is the probability that chosen is better."""
    generator = np.random.default_rng(seed)
    sizes = np.abs(generator.normal(size=num_pairs)) * scale
    signs = np.where(generator.random(num_pairs) < expit(sizes), 1, -1)
    return sizes * signs * temperature


@given(gap_lists)
def test_losses_are_those_of_the_pairs_and_their_mirror_images(gaps):
    probabilities = np.concatenate([expit(gaps), expit(-gaps)])
    outcomes = np.repeat([1.0, 0.0], len(gaps))
    likelihoods = np.where(outcomes == 1, probabilities, expit(np.concatenate([-gaps, gaps])))
    assert calibration.log_loss(gaps) == pytest.approx(-np.log(likelihoods).mean(), abs=1e-12)
    brier = ((probabilities - outcomes) ** 2).mean()
    assert calibration.brier_score(gaps) == pytest.approx(brier, abs=1e-12)


@given(gap_lists)
def test_the_bins_hold_every_pair_and_give_the_error(gaps):
    bins = calibration.reliability(gaps, 2, 0)
    counts = [row["num_pairs"] for row in bins]
    assert sum(counts) == len(gaps)
    for row in bins:
        assert row["low"] - 1e-12 <= row["confidence"] <= row["high"] + 1e-12
        assert row["accuracy_interval"][0] <= row["accuracy_interval"][1]
    error = np.dot(counts, [abs(row["accuracy"] - row["confidence"]) for row in bins]) / len(gaps)
    assert calibration.expected_calibration_error(gaps) == pytest.approx(error, abs=1e-12)


def test_bins_by_hand():
    two, tie, miss = math.log(0.82 / 0.18), 0.0, -math.log(0.83 / 0.17)
    rows = calibration.reliability(np.array([two, tie, miss]), 50, 0)
    assert [(row["low"], row["high"], row["num_pairs"]) for row in rows] == [
        (0.5, 0.55, 1),
        (0.8, 0.85, 2),
    ]
    assert [row["accuracy"] for row in rows] == [0.5, 0.5]
    assert [row["confidence"] for row in rows] == pytest.approx([0.5, 0.825])


def test_a_model_that_knows_nothing():
    gaps = np.zeros(5)
    assert calibration.log_loss(gaps) == pytest.approx(math.log(2))
    assert calibration.brier_score(gaps) == 0.25
    assert calibration.expected_calibration_error(gaps) == 0


@pytest.mark.parametrize("temperature", [0.2, 1.0, 8.0])
def test_the_temperature_of_a_scaled_model_is_found(temperature):
    gaps = calibrated_gaps(40_000, temperature=temperature)
    report = calibration.calibration_report(gaps, num_resamples=50)
    assert report["best_temperature"] == pytest.approx(temperature, rel=0.05)
    assert report["at_best_temperature"]["expected_calibration_error"] < 0.01
    if temperature != 1:
        assert report["expected_calibration_error"] > 0.05
    assert json.loads(json.dumps(report)) == report


@given(gap_lists)
def test_no_other_temperature_has_a_lower_log_loss(gaps):
    best = calibration.best_temperature(gaps)
    if best is None:
        assert gaps.mean() <= 0 or gaps.min() >= 0
        return
    assert gaps.mean() > 0 > gaps.min()
    least = calibration.log_loss(gaps / best)
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert least <= calibration.log_loss(gaps / (best * factor)) + 1e-12


@pytest.mark.parametrize("gaps", [[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]])
def test_without_a_finite_temperature_there_is_none(gaps):
    report = calibration.calibration_report(np.array(gaps), num_resamples=10)
    assert report["best_temperature"] is None
    assert report["at_best_temperature"] is None
