"""RewardBench 2: best of four in each domain, Ties by a rule of its own, and the mean of the domains.

In a domain a problem counts 1 where the chosen response alone has the highest reward, and 1 / k where k responses, the chosen
one among them, share it (allenai/reward-bench, scripts/run_v2.py).

Ties has each question twice: with one correct answer (`ref`) and with several (`tied`). A row is accurate where all its
correct answers are above all others. Of a question, `spread` is the difference between the highest and the lowest correct
reward of its tied row, and `gap` that between the lowest correct and the highest wrong one of a row:

    0.3 accuracy of tied rows + 0.3 accuracy of ref rows
    + 0.2 share of questions whose tied gap exceeds the spread
    + 0.2 share of those whose smaller gap of both rows does
    + 0.01 mean of tanh(smaller gap / spread - 1), 0 where that is 0 / 0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.evaluation.benchmarks.result import Result, Scored, by_subset

TIES = "Ties"


def rule(scored: Sequence[Scored]) -> Result:
    """Raises UserError where a row of Ties has no correct or no wrong answer, or its question has no second row."""
    rows = [
        (name, len(group), [_ties(group) if name == TIES else _best_of_four(group)])
        for name, group in by_subset(scored).items()
    ]
    mean = float(np.mean([figures[0] for _, _, figures in rows]))
    return Result(("score",), [*rows, ("mean of domains", len(scored), [mean])])


def _best_of_four(group: Sequence[Scored]) -> float:
    wins = []
    for one in group:
        best = one.rewards == one.rewards.max()
        wins.append(best[0] / best.sum())
    return float(np.mean(wins))


def _ties(group: Sequence[Scored]) -> float:
    accurate: dict[str, list[bool]] = {"ref": [], "tied": []}
    gaps: dict[str, dict[str, float]] = {"ref": {}, "tied": {}}
    spreads: dict[str, float] = {}
    for one in group:
        kind, question = (one.problem.reference[entry] for entry in ("kind", "question"))
        right, wrong = one.rewards[one.correct], one.rewards[~one.correct]
        require(
            len(right) > 0 and len(wrong) > 0,
            f"{one.problem.problem_id}: correct answers",
            len(right),
            "must be some, but not all",
            "give the rows as their authors publish them",
        )
        gap = float(right.min() - wrong.max())
        accurate[kind].append(gap > 0)
        gaps[kind][question] = gap
        if kind == "tied":
            spreads[question] = float(right.max() - right.min())
    require(
        gaps["ref"].keys() == gaps["tied"].keys(),
        "questions of Ties with one row only",
        sorted(gaps["ref"].keys() ^ gaps["tied"].keys())[:5],
        "must be none",
        "score the benchmark whole",
    )
    questions = list(spreads)
    spread = np.array([spreads[question] for question in questions])
    tied = np.array([gaps["tied"][question] for question in questions])
    smaller = np.minimum(tied, [gaps["ref"][question] for question in questions])
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0)
    return float(
        0.3 * np.mean(accurate["tied"])
        + 0.3 * np.mean(accurate["ref"])
        + 0.2 * np.mean(tied > spread)
        + 0.2 * np.mean(smaller > spread)
        + 0.01 * np.mean(margin)
    )
