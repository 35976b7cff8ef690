"""The bag of tokens: what it can learn, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from codepmp_jax.evaluation.baselines.bag_of_tokens import fit

VOCAB = 20


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def test_it_learns_which_tokens_tell_and_generalizes():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(200):
        common = rng.integers(3, VOCAB, 6).astype(np.int32)
        pairs.append((np.append(common, 1), np.append(rng.permutation(common), 2)))
    bag = fit(pairs[:100], VOCAB, 1.0)
    assert bag.num_seen == 2
    # Tokens of which both responses hold as many tell nothing.
    assert set(np.flatnonzero(bag.weights)) == {1, 2}
    for chosen, rejected in pairs[100:]:
        better, worse = bag.scores([chosen, rejected])
        assert better > worse


def test_the_order_of_tokens_does_not_count():
    pair = tokens(3, 4, 5), tokens(5, 4, 3)
    bag = fit([pair], VOCAB, 1.0)
    assert bag.num_seen == 0
    assert bag.scores(pair).tolist() == [0.0, 0.0]
    assert fit([], VOCAB, 1.0).scores(pair).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_the_weights_are_where_the_gradient_of_the_penalized_loss_is_zero(penalty):
    rng = np.random.default_rng(1)
    pairs = [(rng.integers(0, 6, 5), rng.integers(0, 6, 4)) for _ in range(30)]
    weights = fit(pairs, 6, penalty).weights
    gradient = penalty * weights
    for chosen, rejected in pairs:
        counts = np.bincount(chosen, minlength=6) - np.bincount(rejected, minlength=6)
        gradient -= counts / (1 + np.exp(counts @ weights))
    assert np.abs(gradient).max() < 1e-3
