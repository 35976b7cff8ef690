"""PPE: agreement with people, and with what is correct (arXiv 2410.14872).

Preference: the share of battles with a winner whose winner has the higher reward, by language.

Correctness: the share of the published conflict pairs (one right response, one wrong one) whose right response has the
higher reward, by model; and the expected correctness of the highest-scored of k responses, over all subsets of k, with its
maximum over k. The authors draw subsets at random, and read the same maximum off their curve.

Which votes and pairs count is as in the authors' loader (votes for one of the two; of a sampled pair, the response of the
higher score is right), read in evaluators built on it. Equal rewards count half: what the authors' scorers (lmarena/PPE,
utils/scorers.py) do with them was not to be had.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.evaluation.benchmarks.result import Result, Scored, by_subset
from codepmp_jax.evaluation.statistics import estimators


def preference_rule(scored: Sequence[Scored]) -> Result:
    """Raises UserError where all battles are ties."""
    decided = [one for one in scored if not one.correct.all()]
    require(bool(decided), "battles with a winner", 0, "must be some", "score the data set whole")
    groups = by_subset(decided)
    rows = [(name, len(group), [_preferred(group)]) for name, group in groups.items()]
    return Result(("accuracy",), [*rows, ("all", len(decided), [_preferred(decided)])])


def _preferred(group: Sequence[Scored]) -> float:
    won = np.array([one.rewards[one.correct][0] for one in group])
    lost = np.array([one.rewards[~one.correct][0] for one in group])
    return float(estimators.pair_wins(won, lost).mean())


def correctness_rule(scored: Sequence[Scored]) -> Result:
    """The figures of each model's responses, and their means."""
    size = min(len(one.rewards) for one in scored)
    ks = [2**power for power in range(size.bit_length())]
    names = ("pair accuracy", "best over k", *(f"best of {k}" for k in ks))
    groups = by_subset(scored)
    rows = [(name, len(group), _figures(group, ks)) for name, group in groups.items()]
    mean = np.mean([figures for _, _, figures in rows], axis=0).tolist()
    return Result(names, [*rows, ("mean of models", len(scored), mean)])


def _figures(group: Sequence[Scored], ks: Sequence[int]) -> list[float]:
    wins = [win for one in group for win in _conflicts(one)]
    longest = min(len(one.rewards) for one in group)
    curve = {
        k: float(np.mean([estimators.best_of_n(one.rewards, one.correct, k) for one in group]))
        for k in range(1, longest + 1)
    }
    accuracy = float(np.mean(wins)) if wins else float("nan")
    return [accuracy, max(curve.values()), *(curve[k] for k in ks)]


def _conflicts(one: Scored) -> list[float]:
    """1, 0.5 or 0 for each conflict pair; pairs of equally correct responses are none."""
    wins = []
    for first, second in one.problem.reference["pairs"]:
        right, wrong = (first, second) if one.correct[first] else (second, first)
        if one.correct[right] and not one.correct[wrong]:
            wins.append((np.sign(one.rewards[right] - one.rewards[wrong]) + 1) / 2)
    return wins
