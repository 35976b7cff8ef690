"""Estimators over scores: pairwise accuracy, Best-of-N and its bounds.

M candidates of a problem, N of them drawn at random without replacement, P pairs.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Bool, Float, Shaped

from codepmp_jax.cli.errors import require


@functools.lru_cache(maxsize=1024)
def _rank_weights(num_candidates: int, n: int) -> np.ndarray:
    """Probability, for each rank from the best, that the best of n out of M drawn has it.

    C(M - i, n - 1) / C(M, n) for rank i = 1..M; ratios of exact integers, so any M will do.
    """
    subsets = math.comb(num_candidates, n)
    return np.array(
        [math.comb(num_candidates - i, n - 1) / subsets for i in range(1, num_candidates + 1)]
    )


def _require_n(n: int, num_candidates: int) -> None:
    require(
        1 <= n <= num_candidates,
        "N",
        n,
        f"must lie in 1..{num_candidates}, the number of candidates",
        "score more candidates or ask for a smaller N",
    )


def best_of_n(rewards: Shaped[np.ndarray, "M"], correct: Bool[np.ndarray, "M"], n: int) -> float:
    """Expected correctness of the highest-reward candidate among n drawn from M.

    The mean over all subsets of n, as pass@k is (arXiv 2107.03374, equation 1). Candidates of equal
    reward are as likely to be picked as one another: their correctness is averaged. Raises UserError
    where n exceeds M or a reward is not finite.
    """
    _require_n(n, len(rewards))
    require(
        bool(np.isfinite(rewards).all()),
        "rewards",
        [float(reward) for reward in rewards[~np.isfinite(rewards)]],
        "must be finite",
        "score the candidates again",
    )
    order = np.argsort(-rewards, kind="stable")
    _, group, size = np.unique(-rewards[order], return_inverse=True, return_counts=True)
    group_correct = np.bincount(group, weights=correct[order]) / size
    return float(_rank_weights(len(rewards), n) @ group_correct[group])


def first_n(rewards: Shaped[np.ndarray, "M"], correct: Bool[np.ndarray, "M"], n: int) -> float:
    """Correctness of the highest-reward candidate among the first n, ties averaged.

    One subset of those that `best_of_n` averages over: what a run that draws n candidates once reports.
    """
    _require_n(n, len(rewards))
    return best_of_n(rewards[:n], correct[:n], n)


def pass_at_n(correct: Bool[np.ndarray, "M"], n: int) -> float:
    """Probability that a correct candidate is among n drawn from M: what an oracle would reach."""
    _require_n(n, len(correct))
    num_wrong = len(correct) - int(correct.sum())
    return 1 - math.comb(num_wrong, n) / math.comb(len(correct), n)


def pair_wins(
    chosen: Shaped[np.ndarray, "P"], rejected: Shaped[np.ndarray, "P"]
) -> Float[np.ndarray, "P"]:
    """1 where chosen has the higher value, 0.5 where they tie, 0 elsewhere; the mean is the accuracy."""
    return (np.sign(chosen - rejected) + 1) / 2
