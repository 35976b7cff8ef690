"""Votes over the answers of N candidates drawn from a problem's M.

S subsets of N candidates each. Answers are numbers from 0; -1 is a candidate without an answer, which
counts in N and does not vote.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

# Sums of weights in another order differ in their last bits: what is so close to the top ties with it.
_TIE = 1e-9


class Subsets(NamedTuple):
    """Subsets of a problem's candidates."""

    indices: Int[np.ndarray, "S N"]
    is_every: bool
    """Whether these are all subsets of that size, each once."""


class Expectation(NamedTuple):
    """An average over subsets."""

    mean: float
    standard_error: float
    """Of the Monte Carlo draw; 0 where every subset was counted."""


def number_answers(answers: Sequence[str | None]) -> Int[np.ndarray, "M"]:
    """Answers as numbers, equal ones equal, in order of appearance; -1 for None."""
    numbers: dict[str, int] = {}
    return np.array(
        [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in answers],
        np.int64,
    )


def random_orders(
    num_candidates: int, num_draws: int, seed: int | Sequence[int]
) -> Int[np.ndarray, "D M"]:
    """D random orders of M candidates; the first n of an order are a random subset, for every n."""
    orders = np.broadcast_to(np.arange(num_candidates), (num_draws, num_candidates))
    return np.random.default_rng(seed).permuted(orders, axis=1)


@functools.lru_cache(maxsize=64)
def _every_subset(num_candidates: int, n: int) -> np.ndarray:
    indices = itertools.chain.from_iterable(itertools.combinations(range(num_candidates), n))
    return np.fromiter(indices, np.int64).reshape(-1, n)


def draw_subsets(orders: Int[np.ndarray, "D M"], n: int) -> Subsets:
    """Every subset of n candidates where there are no more of them than orders, else a random one an order."""
    num_draws, num_candidates = orders.shape
    if math.comb(num_candidates, n) <= num_draws:
        return Subsets(_every_subset(num_candidates, n), True)
    return Subsets(orders[:, :n], False)


def vote(
    rewards: Shaped[np.ndarray, "M"],
    answers: Int[np.ndarray, "M"],
    correct: Bool[np.ndarray, "M"],
    subsets: Subsets,
    temperature: float,
) -> Expectation:
    """How often the answer of the greatest weight among the candidates of a subset is correct.

    A candidate votes with the softmax of rewards / temperature over its subset, so that rewards may be of
    either sign; an infinite temperature makes them equal: the majority vote. Answers of equal weight are
    as likely to be taken as one another. An answer is as correct as its candidates are on average. A
    subset without votes is wrong.
    """
    num_subsets = len(subsets.indices)
    num_answers = int(answers.max()) + 1
    if num_answers == 0:
        return Expectation(0.0, 0.0)
    known = answers[answers >= 0]
    sizes = np.bincount(known)
    correctness = np.bincount(known, weights=correct[answers >= 0]) / np.maximum(sizes, 1)
    drawn = answers[subsets.indices]
    voting = drawn >= 0
    scores = rewards[subsets.indices]
    # Below the top voter's of each subset, so that no subset's weights all vanish.
    below_top = scores - np.where(voting, scores, -np.inf).max(1, keepdims=True)
    weights = np.exp(below_top[voting] / temperature)
    cells = drawn + num_answers * np.arange(num_subsets)[:, None]
    tally = np.bincount(cells[voting], weights=weights, minlength=num_subsets * num_answers)
    tally = tally.reshape(num_subsets, num_answers)
    most = tally.max(1, keepdims=True)
    winners = (tally >= most * (1 - _TIE)) & (most > 0)
    outcomes = winners @ correctness / np.maximum(winners.sum(1), 1)
    error = 0.0
    if not subsets.is_every:
        error = float(outcomes.std(ddof=1) / math.sqrt(num_subsets))
    return Expectation(float(outcomes.mean()), error)
