import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.evaluation.statistics import votes

ANSWERS = ["a", "b", "c", None]
# Few distinct rewards and answers, so that ties are common.
candidates = st.lists(
    st.tuples(st.sampled_from([-1.5, 0.0, 0.5, 2.0]), st.sampled_from(ANSWERS), st.booleans()),
    min_size=1,
    max_size=6,
)


def brute_force(drawn, n, temperature):
    """Mean over all n-subsets of the correctness of the winning answers, by the definition."""
    judged = {}
    for _, answer, is_correct in drawn:
        judged.setdefault(answer, []).append(is_correct)
    outcomes = []
    for subset in itertools.combinations(drawn, n):
        total = sum(math.exp(reward / temperature) for reward, _, _ in subset)
        sums = {}
        for reward, answer, _ in subset:
            if answer is not None:
                sums[answer] = sums.get(answer, 0) + math.exp(reward / temperature) / total
        best = [answer for answer in sums if math.isclose(sums[answer], max(sums.values()))]
        outcomes.append(np.mean([np.mean(judged[answer]) for answer in best]) if best else 0)
    return np.mean(outcomes)


def vote(drawn, n, temperature, num_draws=1000, seed=0):
    rewards = np.array([reward for reward, _, _ in drawn])
    answers = votes.number_answers([answer for _, answer, _ in drawn])
    correct = np.array([ok for _, _, ok in drawn])
    subsets = votes.draw_subsets(votes.random_orders(len(drawn), num_draws, seed), n)
    return votes.vote(rewards, answers, correct, subsets, temperature)


@settings(max_examples=200, deadline=None)
@given(candidates, st.sampled_from([0.3, 1.0, 7.0, math.inf]))
def test_votes_equal_brute_force_over_subsets(drawn, temperature):
    for n in range(1, len(drawn) + 1):
        found = vote(drawn, n, temperature)
        assert found.mean == pytest.approx(brute_force(drawn, n, temperature), abs=1e-9)
        assert found.standard_error == 0


def many(num_candidates=14, seed=0):
    generator = np.random.default_rng(seed)
    indices = generator.choice(4, num_candidates, p=[0.4, 0.3, 0.2, 0.1])
    return [(float(generator.normal()), ANSWERS[place], place == 0) for place in indices]


@pytest.mark.parametrize("temperature", [1.0, math.inf])
@pytest.mark.parametrize("n", [4, 7])
def test_monte_carlo_is_unbiased_with_the_standard_error_that_it_states(n, temperature):
    drawn = many()
    exact = vote(drawn, n, temperature, num_draws=math.comb(14, n))
    assert exact.standard_error == 0
    runs = [vote(drawn, n, temperature, num_draws=100, seed=seed) for seed in range(200)]
    means = np.array([run.mean for run in runs])
    errors = np.array([run.standard_error for run in runs])
    assert means.mean() == pytest.approx(exact.mean, abs=4 * errors.mean() / math.sqrt(200))
    assert means.std() == pytest.approx(errors.mean(), rel=0.2)


def test_random_subsets_are_of_distinct_candidates_and_equally_likely():
    orders = votes.random_orders(5, 20_000, 0)
    subsets = votes.draw_subsets(orders, 2)
    assert subsets.is_every
    assert len(subsets.indices) == 10
    pairs = np.sort(orders[:, :2], 1)
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 10
    assert np.abs(counts - 2000).max() < 5 * math.sqrt(2000)


def test_more_subsets_than_draws_are_sampled():
    subsets = votes.draw_subsets(votes.random_orders(20, 50, 0), 10)
    assert not subsets.is_every
    assert subsets.indices.shape == (50, 10)


def test_without_an_answer_there_is_no_vote_and_none_is_right():
    drawn = [(1.0, None, True), (0.0, None, True)]
    assert vote(drawn, 1, 1.0) == (0, 0)
    # Only the subsets of the one that has an answer are right.
    assert vote([*drawn, (-5.0, "a", True)], 1, 1.0).mean == pytest.approx(1 / 3)
    assert vote([*drawn, (-5.0, "a", True)], 2, 1.0).mean == pytest.approx(2 / 3)


def test_rewards_of_any_size_and_sign_vote():
    # exp(4000) overflows and exp(-4000) vanishes: only differences within a subset count.
    drawn = [
        (4000.0, "a", True),
        (-4000.0, "b", False),
        (-4000.0, "b", False),
        (-4001.0, "c", True),
    ]
    for n in (1, 2, 3, 4):
        shifted = [(reward / 1000, answer, ok) for reward, answer, ok in drawn]
        assert vote(drawn, n, 1000.0).mean == pytest.approx(vote(shifted, n, 1.0).mean)
    assert vote(drawn, 3, 1.0).mean == pytest.approx(3 / 4)
    # Without the top candidate, which has no answer, the others still vote.
    silent = [(4000.0, None, False), *drawn[1:]]
    assert vote(silent, 4, 1.0).mean == 0
    assert vote(silent, 2, 1.0).mean == pytest.approx(1 / 6)


def test_a_sharp_vote_is_best_of_n_and_a_flat_one_the_majority():
    drawn = [(3.0, "a", True), (1.0, "b", False), (0.9, "b", False)]
    assert vote(drawn, 3, 0.01).mean == 1
    assert vote(drawn, 3, 1e6).mean == vote(drawn, 3, math.inf).mean == 0
