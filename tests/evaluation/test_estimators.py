import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.errors import UserError
from codepmp_jax.evaluation import estimators

# Few distinct rewards, so that ties are common.
candidates = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 2.0]), st.booleans()), min_size=1)


def brute_force(rewards, correct, n):
    """Mean correctness of the pick over all n-subsets; a tie picks each of the best equally."""
    picks = []
    for subset in itertools.combinations(range(len(rewards)), n):
        best = max(rewards[i] for i in subset)
        picks.append(np.mean([correct[i] for i in subset if rewards[i] == best]))
    return np.mean(picks)


@pytest.mark.parametrize("num_values", [2, 4, 1000])
@pytest.mark.parametrize("num_candidates", [1, 2, 5, 8])
def test_best_of_n_equals_brute_force_over_subsets(num_candidates, num_values):
    generator = np.random.default_rng(num_candidates * num_values)
    for _ in range(5):
        rewards = generator.integers(num_values, size=num_candidates) - 0.5
        correct = generator.random(num_candidates) < 0.4
        for n in range(1, num_candidates + 1):
            expected = brute_force(rewards, correct, n)
            assert estimators.best_of_n(rewards, correct, n) == pytest.approx(expected, abs=1e-12)


@given(candidates)
def test_best_of_n_lies_between_random_and_extremes(drawn):
    rewards = np.array([reward for reward, _ in drawn])
    correct = np.array([is_correct for _, is_correct in drawn])
    assert estimators.best_of_n(rewards, correct, 1) == pytest.approx(correct.mean())
    everyone = estimators.best_of_n(rewards, correct, len(drawn))
    assert everyone == pytest.approx(correct[rewards == rewards.max()].mean())
    for n in range(1, len(drawn) + 1):
        value = estimators.best_of_n(rewards, correct, n)
        assert -1e-12 <= value <= estimators.pass_at_n(correct, n) + 1e-12
        # The order of the candidates means nothing, nor does the scale of the rewards.
        assert estimators.best_of_n(3 * rewards[::-1] + 1, correct[::-1], n) == pytest.approx(value)


def test_one_author_among_rewrites_by_hand():
    # The author ranks second of four: best of 2 picks it when the top rewrite is not drawn.
    rewards = np.array([0.1, 0.9, 0.5, -1.0])
    correct = np.array([False, False, True, False])
    assert estimators.best_of_n(rewards, correct, 2) == pytest.approx(2 / 6)
    assert estimators.pass_at_n(correct, 2) == pytest.approx(3 / 6)


@pytest.mark.parametrize("num_candidates", [256, 4096])
def test_many_candidates_stay_exact(num_candidates):
    generator = np.random.default_rng(0)
    rewards = generator.normal(size=num_candidates)
    every = np.ones(num_candidates, bool)
    best = np.arange(num_candidates) == rewards.argmax()
    for n in (1, 2, num_candidates // 2, num_candidates - 1, num_candidates):
        assert estimators.best_of_n(rewards, every, n) == pytest.approx(1, abs=1e-12)
        assert estimators.best_of_n(rewards, best, n) == pytest.approx(n / num_candidates)
        assert estimators.pass_at_n(best, n) == pytest.approx(n / num_candidates)


def test_all_tied_is_random():
    correct = np.array([True, False, False, True, False])
    for n in range(1, 6):
        assert estimators.best_of_n(np.zeros(5), correct, n) == pytest.approx(0.4)


def test_pass_at_n_equals_brute_force():
    for num_correct in range(6):
        correct = np.arange(5) < num_correct
        for n in range(1, 6):
            hits = [any(correct[list(s)]) for s in itertools.combinations(range(5), n)]
            assert estimators.pass_at_n(correct, n) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("n", [0, 4])
def test_n_outside_the_candidates_is_refused(n):
    with pytest.raises(UserError, match=rf"N = {n}: must lie in 1\.\.3"):
        estimators.best_of_n(np.zeros(3), np.zeros(3, bool), n)
    with pytest.raises(UserError, match=rf"N = {n}: must lie in 1\.\.3"):
        estimators.pass_at_n(np.zeros(3, bool), n)


def test_rewards_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match=r"rewards = \[nan, inf\]: must be finite"):
        estimators.best_of_n(np.array([0.0, math.nan, math.inf]), np.zeros(3, bool), 1)


def test_pair_wins_counts_ties_half():
    wins = estimators.pair_wins(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 4.0]))
    assert wins.tolist() == [1, 0.5, 0]


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        low, high = estimators.bootstrap_interval(
            generator.random(80) < 0.7, num_resamples=300, seed=seed
        )
        covered += low <= 0.7 <= high
    assert 88 <= covered <= 100


def test_bootstrap_of_a_ratio_is_seeded_and_brackets_it():
    generator = np.random.default_rng(1)
    weights = generator.random(200)
    values = weights * 0.6
    assert estimators.bootstrap_interval(values, weights) == pytest.approx((0.6, 0.6))
    noisy = values + generator.normal(size=200) * 0.05
    first = estimators.bootstrap_interval(noisy, weights, seed=3)
    assert first == estimators.bootstrap_interval(noisy, weights, seed=3)
    assert first != estimators.bootstrap_interval(noisy, weights, seed=4)
    assert first.low < noisy.sum() / weights.sum() < first.high


def test_bootstrap_of_nothing_is_refused():
    with pytest.raises(UserError, match="must not be empty"):
        estimators.bootstrap_interval(np.zeros(0))
    with pytest.raises(UserError, match="must not be empty"):
        estimators.bootstrap_interval(np.zeros(3), np.zeros(3))
