"""What the rewards of the held-out pairs say beyond their mean: accuracy by group, calibration, and whether they follow
length.

    accuracy/GROUP, margin/GROUP    of the pairs of each source, or of each subset: share of pairs whose chosen text has
                                    the higher reward, ties half; mean of chosen's reward minus rejected's
    expected_calibration_error      how far sigmoid(margin) is from how often the text it prefers is the chosen one
    best_temperature                the T at which sigmoid(margin / T) fits best
    length_spearman, length_pearson correlation of the reward with the length of the response, over all texts
    longer_preferred                share of pairs in which the longer response has the higher reward, ties half
    length_baseline                 accuracy of preferring the longer response, ties half: a property of the data

None stands for a figure that is not defined, e.g. a correlation where all rewards are equal.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from codepmp_jax.data.tokenized_item import TokenizedItem
from codepmp_jax.evaluation.statistics.calibration import (
    best_temperature,
    expected_calibration_error,
)
from codepmp_jax.evaluation.statistics.estimators import pair_wins

MAX_GROUPS = 20
"""Groups that have figures of their own; the pairs of the smaller ones have theirs together, as OTHERS."""
OTHERS = "(others)"

_OVERALL = (
    "best_temperature",
    "expected_calibration_error",
    "length_baseline",
    "length_pearson",
    "length_spearman",
    "longer_preferred",
)
# Groups that a line of the log names.
_LOGGED_GROUPS = 6


@dataclasses.dataclass(frozen=True)
class ItemFacts:
    """What is known of P items before they have rewards; only pairs have figures."""

    groups: Sequence[str]
    """[P] the group of each item; empty where there are no groups."""
    lengths: Int[np.ndarray, "P S"]
    """Tokens of the responses of each item's texts: of pairs those of chosen and rejected."""

    @property
    def group_sizes(self) -> dict[str, int]:
        """How many items each group has, by name."""
        return dict(sorted(collections.Counter(self.groups).items()))

    @property
    def names(self) -> list[str]:
        """The names of the figures that `compute` gives."""
        by_group = [
            f"{what}/{group}" for what in ("accuracy", "margin") for group in self.group_sizes
        ]
        return [*by_group, *_OVERALL]


def group_names(names: Iterable[str]) -> list[str]:
    """The group of each item by the name of what it is of: the name, `unnamed` where that is empty, or OTHERS where it
    is none of the MAX_GROUPS largest. No groups where all names are the same."""
    known = [name or "unnamed" for name in names]
    sizes = collections.Counter(known)
    if len(sizes) <= 1:
        return []
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    largest = set(order if len(order) <= MAX_GROUPS else order[:MAX_GROUPS])
    return [name if name in largest else OTHERS for name in known]


def response_lengths(items: Iterable[TokenizedItem], num_texts: int) -> Int[np.ndarray, "P S"]:
    """Tokens from the first label of each of the num_texts texts on."""
    lengths = [
        [len(text) - start for text, start in zip(item.texts, item.label_starts, strict=True)]
        for item in items
    ]
    return np.array(lengths, np.int64).reshape(-1, num_texts)


def compute(facts: ItemFacts, rewards: Float[np.ndarray, "P 2"]) -> dict[str, float | None]:
    """The figures (see the module) of P > 0 pairs, from the rewards of chosen and rejected."""
    rewards = rewards.astype(np.float64)
    gaps = rewards[:, 0] - rewards[:, 1]
    wins = pair_wins(rewards[:, 0], rewards[:, 1])
    figures: dict[str, float | None] = {}
    groups = np.array(facts.groups)
    for group in facts.group_sizes:
        of_group = groups == group
        figures[f"accuracy/{group}"] = float(wins[of_group].mean())
        figures[f"margin/{group}"] = float(gaps[of_group].mean())
    figures["best_temperature"] = best_temperature(gaps)
    figures["expected_calibration_error"] = expected_calibration_error(gaps)
    return dict(sorted((figures | _of_lengths(facts.lengths, rewards)).items()))


def _of_lengths(
    lengths: Int[np.ndarray, "P 2"], rewards: Float[np.ndarray, "P 2"]
) -> dict[str, float | None]:
    longer = np.sign(lengths[:, 0] - lengths[:, 1])
    differ = longer != 0
    preferred = np.sign(rewards[:, 0] - rewards[:, 1]) * longer
    is_constant = np.ptp(lengths) == 0 or np.ptp(rewards) == 0

    def correlation(of: Callable[..., Any]) -> float | None:
        return None if is_constant else float(of(lengths.ravel(), rewards.ravel())[0])

    return {
        "length_spearman": correlation(stats.spearmanr),
        "length_pearson": correlation(stats.pearsonr),
        "longer_preferred": float((1 + preferred[differ]).mean() / 2) if differ.any() else None,
        "length_baseline": float(pair_wins(lengths[:, 0], lengths[:, 1]).mean()),
    }


def describe(facts: ItemFacts, figures: dict[str, float | None]) -> str:
    """The figures in a line of the log."""

    def shown(name: str, form: str = ".3f") -> str:
        value = figures[name]
        return "-" if value is None else f"{value:{form}}"

    parts = []
    sizes = facts.group_sizes
    if sizes:
        worst = sorted(sizes, key=lambda group: figures[f"accuracy/{group}"] or 0.0)
        listed = sorted(sizes) if len(sizes) <= _LOGGED_GROUPS else worst[:_LOGGED_GROUPS]
        of = "" if len(listed) == len(sizes) else f" (the lowest of {len(sizes)})"
        each = ", ".join(f"{name} {shown(f'accuracy/{name}')} of {sizes[name]}" for name in listed)
        parts.append(f"accuracy by group{of}: {each}")
    parts.append(
        f"calibration error {shown('expected_calibration_error')} (best temperature "
        f"{shown('best_temperature', '.2f')})"
    )
    parts.append(
        f"reward and length: Spearman {shown('length_spearman', '.2f')}, longer preferred "
        f"{shown('longer_preferred', '.2f')} (right {shown('length_baseline', '.2f')})"
    )
    return "; ".join(parts)
