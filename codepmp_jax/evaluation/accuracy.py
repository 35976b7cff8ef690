"""Pairwise accuracy from scores: overall, by subset, margin and length, with its calibration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.config import AccuracyConfig, ResamplingConfig, presets
from codepmp_jax.evaluation.items import read_pairs
from codepmp_jax.evaluation.reports import folders, plots
from codepmp_jax.evaluation.reports.tables import format_table, percent, percent_interval
from codepmp_jax.evaluation.scores import by_item, without_refused
from codepmp_jax.evaluation.statistics.calibration import calibration_report
from codepmp_jax.evaluation.statistics.estimators import pair_wins
from codepmp_jax.evaluation.statistics.resampling import mean_interval
from codepmp_jax.records.schema import PreferencePair, Score, content_id
from codepmp_jax.records.scores import read_scores

_NUM_QUANTILES = 4
# Margins of so few values are reported value by value.
_MAX_VALUES = 8
# Ends of the buckets of the lengths' difference, on either side of 0.
_DIFFERENCES = (1, 10, 100)


@dataclasses.dataclass(frozen=True)
class ScoredPairs:
    """Pairs with their scores, chosen first."""

    pair_ids: list[str]
    problem_ids: list[str]
    """Equal for pairs of one problem (`problem_of`)."""
    subsets: np.ndarray
    margins: np.ndarray
    rewards: np.ndarray
    """[P 2]."""
    lengths: np.ndarray
    """[P 2], in `length_unit`."""
    length_unit: str
    num_unused_scores: int
    """Scores of other texts."""

    @property
    def gaps(self) -> np.ndarray:
        """Reward of chosen minus that of rejected, [P]."""
        return self.rewards[:, 0] - self.rewards[:, 1]

    @property
    def wins(self) -> np.ndarray:
        """1, 0.5 or 0 for each pair, [P]."""
        return pair_wins(self.rewards[:, 0], self.rewards[:, 1])


def score_pairs(pairs: Sequence[PreferencePair], scores: Sequence[Score]) -> ScoredPairs:
    """The pairs with their scores. Raises UserError where a pair lacks one.

    Lengths are in the tokens that were scored, or in characters where a score does not say how many.
    """
    require(len(pairs) > 0, "pairs", 0, "must be at least one", "give a split that is not empty")
    found = by_item(scores)
    sides = [[found(pair.pair_id, index) for index in (0, 1)] for pair in pairs]
    in_tokens = all(score.num_tokens is not None for side in sides for score in side)
    return ScoredPairs(
        pair_ids=[pair.pair_id for pair in pairs],
        problem_ids=[problem_of(pair) for pair in pairs],
        subsets=np.array([pair.subset for pair in pairs]),
        margins=np.array([pair.margin for pair in pairs], np.float64),
        rewards=np.array([[score.reward for score in side] for side in sides], np.float64),
        lengths=np.array(
            [[score.num_tokens for score in side] for side in sides]
            if in_tokens
            else [_num_characters(pair) for pair in pairs]
        ),
        length_unit="tokens" if in_tokens else "characters",
        num_unused_scores=len(scores) - 2 * len(pairs),
    )


def problem_of(pair: PreferencePair) -> str:
    """The problem that a pair is of: `problem_id` of its lineage, or else a hash of its prompt; without one, itself."""
    given = pair.lineage.get("problem_id")
    return str(given or (content_id(pair.prompt) if pair.prompt else pair.pair_id))


def _num_characters(pair: PreferencePair) -> tuple[int, int]:
    chosen, rejected = (
        sum(len(message["content"]) for message in json.loads(text))
        if pair.is_conversation
        else len(text)
        for text in (pair.chosen, pair.rejected)
    )
    return chosen, rejected


def accuracy_report(
    pairs: Sequence[PreferencePair],
    scores: Sequence[Score],
    resampling: ResamplingConfig = ResamplingConfig(),
) -> dict[str, Any]:
    """Accuracy of `scores` on `pairs`, as JSON values.

    Ties count half. `length_baseline` is the accuracy of "the longer one wins", in `length_unit`, ties
    half. Intervals are 95 % bootstrap intervals over pairs. `subsets` holds the same figures for the pairs
    of each subset, where there are several, and `buckets` for those of each bucket of `margin` (the pairs'
    own, where they have one), `reward_gap` (its size, in quarters of the pairs) and `length_difference`
    (by how much chosen is longer). `calibration` is that of sigmoid(reward gap). Raises UserError where a
    pair has no scores.
    """
    return _make_report(score_pairs(pairs, scores), resampling)


def _make_report(scored: ScoredPairs, resampling: ResamplingConfig) -> dict[str, Any]:
    everything = np.ones(len(scored.pair_ids), bool)
    subsets = {str(name) or "unnamed": scored.subsets == name for name in np.unique(scored.subsets)}
    groups = {
        "margin": _value_buckets(scored.margins) if scored.margins.any() else {},
        "reward_gap": _quantile_buckets(np.abs(scored.gaps)),
        "length_difference": _difference_buckets(scored.lengths[:, 0] - scored.lengths[:, 1]),
    }
    report = {
        "kind": "accuracy",
        "items_id": content_id(*sorted(scored.pair_ids)),
        **_figures(scored, everything, resampling),
        "length_unit": scored.length_unit,
        "num_unused_scores": scored.num_unused_scores,
        "buckets": {
            name: {label: _figures(scored, held, resampling) for label, held in buckets.items()}
            for name, buckets in groups.items()
            if buckets
        },
        "calibration": calibration_report(scored.gaps, resampling.num_resamples, resampling.seed),
    }
    if len(subsets) > 1:
        report["subsets"] = {
            name: _figures(scored, held, resampling) for name, held in subsets.items()
        }
    return report


def _figures(scored: ScoredPairs, held: np.ndarray, resampling: ResamplingConfig) -> dict[str, Any]:
    """Figures of the pairs where `held` [P] is true."""
    wins, lengths = scored.wins[held], scored.lengths[held]
    interval = mean_interval(wins, resampling.num_resamples, resampling.seed)
    return {
        "num_pairs": len(wins),
        "accuracy": float(wins.mean()),
        "accuracy_interval": list(interval),
        "num_ties": int((wins == 0.5).sum()),
        "length_baseline": float(pair_wins(lengths[:, 0], lengths[:, 1]).mean()),
        "mean_reward_gap": float(scored.gaps[held].mean()),
    }


# --- buckets: label -> which pairs are in it [P] --------------------------------------------------


def _value_buckets(values: np.ndarray) -> dict[str, np.ndarray]:
    found = np.unique(values)
    if len(found) > _MAX_VALUES:
        return _quantile_buckets(values)
    return {f"{value:g}": values == value for value in found}


def _quantile_buckets(values: np.ndarray) -> dict[str, np.ndarray]:
    """Quarters of the pairs, fewer where values tie, named by their smallest and greatest value."""
    inner = np.linspace(0, 1, _NUM_QUANTILES + 1)[1:-1]
    quarters = np.searchsorted(np.unique(np.quantile(values, inner)), values)
    buckets = {}
    for quarter in np.unique(quarters):
        held = quarters == quarter
        low, high = values[held].min(), values[held].max()
        label = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        # Buckets whose rounded ends are equal are kept apart.
        buckets[label if label not in buckets else f"{label} ({quarter + 1})"] = held
    return buckets


def _difference_buckets(differences: np.ndarray) -> dict[str, np.ndarray]:
    """By how much chosen is longer (+) or shorter (-)."""
    size = np.abs(differences)
    buckets = {"equal": size == 0}
    for low, end in zip(_DIFFERENCES, (*_DIFFERENCES[1:], None), strict=True):
        held = (size >= low) & (True if end is None else size < end)
        label = f"{low} or more" if end is None else f"{low} to {end - 1}"
        buckets = {
            f"shorter by {label}": held & (differences < 0),
            **buckets,
            f"longer by {label}": held & (differences > 0),
        }
    return {label: held for label, held in buckets.items() if held.any()}


# --- output ---------------------------------------------------------------------------------------


def accuracy_table(report: dict[str, Any]) -> str:
    """The report as a table: a line a subset, then all pairs."""
    lines = [*report.get("subsets", {}).items(), ("all", report)]
    return format_table(
        ("subset", "pairs", "accuracy", "95 % interval", "longer wins", "ties", "mean gap"),
        [
            (
                name,
                str(row["num_pairs"]),
                percent(row["accuracy"]),
                percent_interval(row["accuracy_interval"]),
                percent(row["length_baseline"]),
                str(row["num_ties"]),
                f"{row['mean_reward_gap']:+.3f}",
            )
            for name, row in lines
        ],
    )


FIGURES = (
    "num_pairs",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "num_ties",
    "length_baseline",
    "mean_reward_gap",
)


def figure_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Grouping, group and FIGURES of all pairs, of each subset and of each bucket."""
    groupings = {"all": {"all": report}, "subset": report.get("subsets", {}), **report["buckets"]}
    for grouping, groups in groupings.items():
        for name, row in groups.items():
            low, high = row["accuracy_interval"]
            figures = row | {"accuracy_low": low, "accuracy_high": high}
            yield grouping, name, *(figures[figure] for figure in FIGURES)


RELIABILITY = (
    "low",
    "high",
    "num_pairs",
    "confidence",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
)


def reliability_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """RELIABILITY of each bin of the calibration."""
    for row in report["calibration"]["bins"]:
        low, high = row["accuracy_interval"]
        figures = row | {"accuracy_low": low, "accuracy_high": high}
        yield tuple(figures[figure] for figure in RELIABILITY)


def run(config: AccuracyConfig) -> None:
    """Writes report.json, accuracy.csv, reliability.csv, pairs.csv and accuracy.png; prints the table."""
    pairs, num_refused = without_refused(read_pairs(config.pairs, config.split), config.scores)
    scored = score_pairs(pairs, read_scores(config.scores))
    model = folders.model_of(config.scores, config.output)
    report = {
        **_make_report(scored, config.resampling),
        "num_refused": num_refused,
        "model": model,
        "benchmark": folders.benchmark_of(config.pairs),
        "config": presets.to_json(config),
    }
    values = zip(
        scored.pair_ids,
        scored.problem_ids,
        scored.subsets,
        scored.margins,
        *scored.rewards.T,
        *scored.lengths.T,
        scored.wins,
        strict=True,
    )
    tables: dict[str, folders.Table] = {
        "accuracy.csv": (("grouping", "group", *FIGURES), figure_rows(report)),
        "reliability.csv": (RELIABILITY, reliability_rows(report)),
        folders.VALUES["accuracy"]: (
            (
                "pair_id",
                "problem_id",
                "subset",
                "margin",
                "chosen_reward",
                "rejected_reward",
                "chosen_length",
                "rejected_length",
                "win",
            ),
            values,
        ),
    }
    folders.write_folder(
        config.output,
        report,
        tables,
        {"accuracy.png": plots.make_figure(list(plots.accuracy_panels({model: report}).values()))},
    )
    print(accuracy_table(report))
    if scored.length_unit != "tokens":
        print(
            f"Lengths are in {scored.length_unit}: not every score says how many tokens it is of."
        )
    if num_refused:
        print(f"{num_refused} pairs are left out, as scoring left them out.")
    if scored.num_unused_scores:
        print(f"{scored.num_unused_scores} scores are of other texts than those of the pairs.")
    calibration = report["calibration"]
    print(
        f"accuracy {report['accuracy']:.1%} on {report['num_pairs']} pairs, log loss "
        f"{calibration['log_loss']:.3f}, calibration error "
        f"{calibration['expected_calibration_error']:.1%}: {config.output}"
    )
