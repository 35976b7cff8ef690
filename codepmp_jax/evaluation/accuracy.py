"""Pairwise accuracy from scores: overall and by subset, beside the length baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codepmp_jax.errors import require
from codepmp_jax.evaluation.estimators import bootstrap_interval, pair_wins
from codepmp_jax.evaluation.scores import by_item
from codepmp_jax.evaluation.tables import format_table
from codepmp_jax.records import PreferencePair, Score


def accuracy_report(pairs: Sequence[PreferencePair], scores: Sequence[Score]) -> dict[str, Any]:
    """Accuracy of `scores` on `pairs`, as JSON values.

    Ties count half. `length_baseline` is the accuracy of "the longer one wins", in the tokens that were
    scored, ties half. Intervals are 95 % bootstrap intervals over pairs. `subsets` holds the same
    figures for the pairs of each subset. Raises UserError where a pair has no scores.
    """
    require(len(pairs) > 0, "pairs", 0, "must be at least one", "give a split that is not empty")
    found = by_item(scores)
    sides = [[found(pair.pair_id, index) for index in (0, 1)] for pair in pairs]
    rewards = np.array([[score.reward for score in side] for side in sides])
    lengths = np.array([[score.num_tokens for score in side] for side in sides])
    subsets = np.array([pair.subset for pair in pairs])
    report = _figures(rewards, lengths)
    if len(names := np.unique(subsets)) > 1:
        report["subsets"] = {
            str(name) or "unnamed": _figures(rewards[subsets == name], lengths[subsets == name])
            for name in names
        }
    return report


def _figures(rewards: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Figures of pairs with rewards and lengths [P 2], chosen first."""
    wins = pair_wins(rewards[:, 0], rewards[:, 1])
    return {
        "num_pairs": len(wins),
        "accuracy": float(wins.mean()),
        "accuracy_interval": list(bootstrap_interval(wins)),
        "num_ties": int((wins == 0.5).sum()),
        "length_baseline": float(pair_wins(lengths[:, 0], lengths[:, 1]).mean()),
        "mean_margin": float((rewards[:, 0] - rewards[:, 1]).mean()),
    }


def accuracy_table(report: dict[str, Any]) -> str:
    """The report as a table: a line a subset, then all pairs."""
    lines = [*report.get("subsets", {}).items(), ("all", report)]
    return format_table(
        ("subset", "pairs", "accuracy", "95 % interval", "longer wins", "ties", "mean margin"),
        [
            (
                name,
                str(row["num_pairs"]),
                f"{row['accuracy']:.1%}",
                "{:.1%} - {:.1%}".format(*row["accuracy_interval"]),
                f"{row['length_baseline']:.1%}",
                str(row["num_ties"]),
                f"{row['mean_margin']:+.3f}",
            )
            for name, row in lines
        ],
    )
