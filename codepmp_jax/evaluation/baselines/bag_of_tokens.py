"""A linear reward of the tokens that a response holds, whatever their order: what surface alone tells of a pair.

The reward is the sum of a weight for each token; length enters by it. The weights minimize the pair loss
-log sigmoid(r_chosen - r_rejected), summed over the pairs, and an L2 penalty: a logistic regression on the difference of
counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float64, Int
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit

Tokens = Int[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True)
class BagOfTokens:
    """A weight for each token of the vocabulary; 0 for those that no pair tells anything of."""

    weights: Float64[np.ndarray, " V"]
    num_seen: int
    """Tokens of which the two responses of some pair hold different numbers."""

    def scores(self, responses: Sequence[Tokens]) -> Float64[np.ndarray, " N"]:
        """The reward of each response."""
        return np.array([self.weights[response].sum() for response in responses])


def fit(pairs: Iterable[tuple[Tokens, Tokens]], vocab_size: int, penalty: float) -> BagOfTokens:
    """The weights that fit the pairs (chosen, rejected); `penalty` / 2 * |weights|^2 is added to the loss."""
    sides = [side for pair in pairs for side in pair]
    lengths = [len(side) for side in sides]
    places = np.concatenate([*sides, np.zeros(0, np.int64)])
    # Chosen sides come first.
    signs = np.repeat(np.tile([1.0, -1.0], len(sides) // 2), lengths)
    rows = np.repeat(np.arange(len(sides)) // 2, lengths)
    shape = (len(sides) // 2, vocab_size)
    differences = csr_array((signs, (rows, places)), shape=shape)
    differences.sum_duplicates()
    differences.eliminate_zeros()
    seen = np.unique(differences.indices)
    counts = differences[:, seen]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        gaps = counts @ weights
        value = np.logaddexp(0, -gaps).sum() + penalty / 2 * (weights @ weights)
        return float(value), penalty * weights - counts.T @ expit(-gaps)

    found = minimize(loss, np.zeros(len(seen)), jac=True, method="L-BFGS-B")
    weights = np.zeros(vocab_size)
    weights[seen] = found.x
    return BagOfTokens(weights, len(seen))
