from __future__ import annotations

import numpy as np
import pytest

from codepmp_jax.training.spikes import LossHistory


def test_a_deviation_is_in_standard_deviations_of_normal_losses():
    """And one that hardly changes where some of the losses were wild."""
    losses = np.random.default_rng(0).normal(2.0, 0.1, 128)
    assert LossHistory(losses).deviation(2.5) == pytest.approx(5.0, abs=0.8)
    losses[::10] = 1e6
    assert LossHistory(losses).deviation(2.5) == pytest.approx(5.0, abs=1.5)


def test_few_or_equal_losses_make_no_spike_of_a_small_change():
    history = LossHistory([1.0] * 15)
    assert history.deviation(100.0) is None
    history.add(1.0)
    assert history.deviation(1.001) == pytest.approx(1.0)
    assert history.deviation(2.0) == pytest.approx(1000.0)


def test_the_oldest_losses_go_and_the_rest_come_back():
    history = LossHistory(map(float, range(300)))
    assert history.to_json() == list(range(172, 300))
    again = LossHistory(history.to_json())
    assert again.deviation(500.0) == history.deviation(500.0)
