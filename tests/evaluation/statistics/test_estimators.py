import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.statistics import estimators

# Few distinct rewards, so that ties are common.
candidates = st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 2.0]), st.booleans()), min_size=1)


def brute_force(rewards, correct, n):
    """Mean correctness of the pick over all n-subsets; a tie picks each of the best equally."""
    picks = []
    for subset in itertools.combinations(range(len(rewards)), n):
        best = max(rewards[i] for i in subset)
        picks.append(np.mean([correct[i] for i in subset if rewards[i] == best]))
    return np.mean(picks)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([-1.5, 0.0, 1e-3, 2.0]), st.booleans()), min_size=1, max_size=8
    )
)
def test_best_of_n_and_pass_at_n_equal_brute_force_over_subsets(drawn):
    rewards = np.array([reward for reward, _ in drawn])
    correct = np.array([is_correct for _, is_correct in drawn])
    for n in range(1, len(drawn) + 1):
        expected = brute_force(rewards, correct, n)
        assert estimators.best_of_n(rewards, correct, n) == pytest.approx(expected, abs=1e-12)
        hits = [correct[list(s)].any() for s in itertools.combinations(range(len(drawn)), n)]
        assert estimators.pass_at_n(correct, n) == pytest.approx(np.mean(hits), abs=1e-12)


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


@pytest.mark.parametrize("n", [0, 4])
def test_n_outside_the_candidates_is_refused(n):
    with pytest.raises(UserError, match=rf"N = {n}: must lie in 1\.\.3"):
        estimators.best_of_n(np.zeros(3), np.zeros(3, bool), n)
    with pytest.raises(UserError, match=rf"N = {n}: must lie in 1\.\.3"):
        estimators.pass_at_n(np.zeros(3, bool), n)
    with pytest.raises(UserError, match=rf"N = {n}: must lie in 1\.\.3"):
        estimators.first_n(np.zeros(3), np.zeros(3, bool), n)


def test_rewards_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match=r"rewards = \[nan, inf\]: must be finite"):
        estimators.best_of_n(np.array([0.0, math.nan, math.inf]), np.zeros(3, bool), 1)


def test_pair_wins_counts_ties_half():
    wins = estimators.pair_wins(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 4.0]))
    assert wins.tolist() == [1, 0.5, 0]


def test_first_n_is_the_pick_of_one_subset():
    rewards = np.array([0.1, 0.9, 0.5, 2.0])
    correct = np.array([True, False, True, True])
    assert [estimators.first_n(rewards, correct, n) for n in range(1, 5)] == [1, 0, 0, 1]
    assert estimators.first_n(np.zeros(3), np.array([True, False, False]), 2) == 0.5
