"""The data multiplier: how many times the pairs the reference needs to reach the same accuracy.

Two learning curves give accuracy at K sizes n_1 < ... < n_K: that of the reference (e.g. the base model) and that of
another initialisation (e.g. PMP). Each is fitted by a curve that never falls (isotonic regression, each size weighted
by its seeds), linear in log n between the sizes. n(y) is the smallest size at which a fit reaches the accuracy y, and

    multiplier(y) = n_reference(y) / n_other(y).

The *overlap* are the accuracies that both fits reach: from the greater of their lowest values to the smaller of their
highest. The multiplier is the geometric mean of multiplier(y) over the overlap, at TARGETS evenly spaced accuracies.
It lies between n_1 / n_K and n_K / n_1.

Without an overlap it is bounded: if the other initialisation's lowest accuracy is above the reference's highest, the
reference needs more than n_K pairs for what the other reaches with n_1: at least n_K / n_1 times as many.

The interval is the 95 % percentile interval over resamples of seeds and problems
(codepmp_jax.evaluation.statistics.crossed), both curves resampled alike. A resample without an overlap counts as its
bound at one end of the interval, and as unbounded at the other.

There is no estimate, and `reason` says why, where the multiplier cannot be told: where the fits do not overlap (the
interval is then open at one end: "at least 3.2x"), or where a curve does not rise, that is, where the 95 % interval
of its accuracy at n_K minus that at n_1 does not lie above 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import isotonic_regression

from codepmp_jax.evaluation.statistics.resampling import CONFIDENCE

TARGETS = 100
_NO_OVERLAP = "no overlap"


@dataclasses.dataclass(frozen=True)
class Curve:
    """A fit that never falls."""

    log_sizes: Float[np.ndarray, "K"]
    fit: Float[np.ndarray, "K"]

    @classmethod
    def of(
        cls,
        log_sizes: Shaped[np.ndarray, "K"],
        accuracy: Shaped[np.ndarray, "K"],
        weights: Shaped[np.ndarray, "K"],
    ) -> Curve | None:
        """The fit to the sizes whose accuracy is known; None where there are none."""
        known = ~np.isnan(accuracy)
        if not known.any():
            return None
        fit = isotonic_regression(accuracy[known], weights=weights[known]).x
        return cls(np.asarray(log_sizes)[known], np.asarray(fit))

    def log_size(self, targets: Shaped[np.ndarray, "T"]) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the logarithm of the smallest size that reaches each target, [T] each.

        They are equal within the fit's range; below it the size is at most n_1, and above it more than n_K.
        """
        after = np.searchsorted(self.fit, targets)
        inner = np.clip(after, 1, len(self.fit) - 1) if len(self.fit) > 1 else after * 0
        low, high = self.fit[inner - 1], self.fit[inner]
        # A target within the range lies above the fit before it.
        share = np.divide(targets - low, high - low, out=np.ones(len(targets)), where=high > low)
        found = self.log_sizes[inner - 1] + share * (
            self.log_sizes[inner] - self.log_sizes[inner - 1]
        )
        found = np.where(after == 0, self.log_sizes[0], found)
        is_above, is_below = after == len(self.fit), targets < self.fit[0]
        lower = np.where(is_below, -np.inf, np.where(is_above, self.log_sizes[-1], found))
        upper = np.where(is_above, np.inf, found)
        return lower, upper


def log_multipliers(
    reference: Curve, other: Curve, targets: Shaped[np.ndarray, "T"]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the logarithm of multiplier(y) at each target; equal where both fits reach it."""
    low, high = reference.log_size(targets)
    other_low, other_high = other.log_size(targets)
    return low - other_high, high - other_low


def overlap_of(reference: Curve, other: Curve) -> tuple[float, float]:
    """The accuracies that both fits reach; where there are none, the first is not below the second."""
    return (
        float(max(reference.fit[0], other.fit[0])),
        float(min(reference.fit[-1], other.fit[-1])),
    )


def _middles(low: float, high: float) -> np.ndarray:
    return low + (high - low) * (np.arange(TARGETS) + 0.5) / TARGETS


def mean_log_multiplier(reference: Curve | None, other: Curve | None) -> tuple[float, float]:
    """Bounds of the logarithm of the multiplier: equal with an overlap; one is infinite without one."""
    if reference is None or other is None:
        return -math.inf, math.inf
    low, high = overlap_of(reference, other)
    if low < high:
        lower, upper = log_multipliers(reference, other, _middles(low, high))
        return float(lower.mean()), float(upper.mean())
    if other.fit[0] >= reference.fit[-1] and other.fit[-1] > reference.fit[0]:
        return float(reference.log_sizes[-1] - other.log_sizes[0]), math.inf
    if reference.fit[0] >= other.fit[-1] and reference.fit[-1] > other.fit[0]:
        return -math.inf, float(reference.log_sizes[0] - other.log_sizes[-1])
    return -math.inf, math.inf  # two flat curves of one height


@dataclasses.dataclass(frozen=True)
class Multiplier:
    """How many times the pairs the reference needs; JSON values."""

    estimate: float | None
    """None where it cannot be told."""
    low: float | None
    """Lower end of the 95 % interval; without an estimate, the bound. None where it is not bounded."""
    high: float | None
    """Upper end, likewise."""
    reason: str
    """Why there is no estimate; empty with one."""
    overlap: list[float]
    """Accuracies that both fits reach, from and to; empty where there are none."""
    targets: list[dict[str, float | None]]
    """`accuracy`, `multiplier`, `low` and `high` along the overlap (95 % interval at each); None: not bounded."""

    def text(self) -> str:
        """As in `3.2x (2.1x to 4.9x)`, `at least 32x`, `cannot be told`."""
        if self.estimate is None:
            bound = ""
            if self.low is not None:
                bound = f"at least {show(self.low)}"
            elif self.high is not None:
                bound = f"at most {show(self.high)}"
            return bound or "cannot be told"
        ends = [None if end is None else show(end) for end in (self.low, self.high)]
        if ends[1] is None:
            interval = f"at least {ends[0]}" if ends[0] else "not bounded"
        else:
            interval = f"{ends[0]} to {ends[1]}" if ends[0] else f"at most {ends[1]}"
        return f"{show(self.estimate)} ({interval})"


def show(multiplier: float) -> str:
    """As in `3.2x`."""
    return f"{multiplier:.2g}x" if multiplier < 100 else f"{multiplier:.0f}x"


def find_multiplier(
    sizes: Shaped[np.ndarray, "K"],
    reference: Shaped[np.ndarray, "K"],
    other: Shaped[np.ndarray, "K"],
    resampled_reference: Shaped[np.ndarray, "R K"],
    resampled_other: Shaped[np.ndarray, "R K"],
    num_seeds: Shaped[np.ndarray, "2 K"] | None = None,
    names: tuple[str, str] = ("the reference", "the other"),
    num_targets: int = 25,
) -> Multiplier:
    """The data multiplier of two learning curves, whose resamples are paired; NaN where a size is missing.

    `num_seeds` weight the sizes of each curve; `num_targets` are the points of `targets`.
    """
    log_sizes = np.log(sizes.astype(np.float64))
    weights = np.ones((2, len(log_sizes))) if num_seeds is None else np.asarray(num_seeds, float)

    def fits(values: tuple[np.ndarray, np.ndarray]) -> tuple[Curve | None, Curve | None]:
        first, second = (Curve.of(log_sizes, *each) for each in zip(values, weights, strict=True))
        return first, second

    first, second = fits((reference, other))
    resampled = [fits(pair) for pair in zip(resampled_reference, resampled_other, strict=True)]
    estimate, _ = mean_log_multiplier(first, second)
    reason = _why_not(
        log_sizes,
        (reference, other),
        (resampled_reference, resampled_other),
        (first, second),
        names,
    )
    bounds = np.array([mean_log_multiplier(*pair) for pair in resampled])
    ends = _interval(bounds[:, 0], bounds[:, 1])
    if reason or first is None or second is None:
        is_bound = reason.startswith(_NO_OVERLAP)
        low, high = (_exp(end) if is_bound else None for end in ends)
        return Multiplier(None, low, high, reason, [], [])
    overlap = overlap_of(first, second)
    return Multiplier(
        estimate=math.exp(estimate),
        low=_exp(ends[0]),
        high=_exp(ends[1]),
        reason="",
        overlap=list(overlap),
        targets=_along(first, second, resampled, np.linspace(*overlap, num_targets)),
    )


def _why_not(
    log_sizes: np.ndarray,
    values: tuple[np.ndarray, np.ndarray],
    resampled: tuple[np.ndarray, np.ndarray],
    curves: tuple[Curve | None, Curve | None],
    names: tuple[str, str],
) -> str:
    """Why the multiplier cannot be told; empty where it can."""
    for curve, name in zip(curves, names, strict=True):
        if curve is None or len(curve.log_sizes) < 2:
            return f"{name} has been evaluated at fewer than two sizes"
    first, second = curves
    assert first is not None
    assert second is not None
    low, high = overlap_of(first, second)
    if low >= high:
        return (
            f"{_NO_OVERLAP}: {names[0]} reaches {first.fit[0]:.1%} to {first.fit[-1]:.1%}, {names[1]} "
            f"{second.fit[0]:.1%} to {second.fit[-1]:.1%}"
        )
    for name, own, samples in zip(names, values, resampled, strict=True):
        known = np.flatnonzero(~np.isnan(own))
        rises = samples[:, known[-1]] - samples[:, known[0]]
        tail = (1 - CONFIDENCE) / 2
        start, stop = np.nanquantile(rises, [tail, 1 - tail])
        if start <= 0:
            rise = own[known[-1]] - own[known[0]]
            few, many = np.exp(log_sizes[known[[0, -1]]])
            return (
                f"the accuracy of {name} does not rise from {few:g} to {many:g} pairs: {100 * rise:+.1f} points "
                f"({100 * start:+.1f} to {100 * stop:+.1f})"
            )
    return ""


def _interval(lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
    """Percentile interval of samples of which only bounds are known, which may be infinite.

    Without interpolation, which infinite neighbours do not allow: the ends are samples, outwards.
    """
    tail = (1 - CONFIDENCE) / 2
    return (
        float(np.quantile(lower, tail, method="lower")),
        float(np.quantile(upper, 1 - tail, method="higher")),
    )


def _along(
    first: Curve,
    second: Curve,
    resampled: Sequence[tuple[Curve | None, Curve | None]],
    targets: np.ndarray,
) -> list[dict[str, Any]]:
    """The multiplier at each target, with its interval."""
    middle, _ = log_multipliers(first, second, targets)
    pairs = [(a, b) for a, b in resampled if a is not None and b is not None]
    bounds = np.array([log_multipliers(a, b, targets) for a, b in pairs])
    rows = []
    for index, target in enumerate(targets):
        low, high = _interval(bounds[:, 0, index], bounds[:, 1, index])
        rows.append(
            {
                "accuracy": float(target),
                "multiplier": math.exp(middle[index]),
                "low": _exp(low),
                "high": _exp(high),
            }
        )
    return rows


def _exp(logarithm: float) -> float | None:
    return math.exp(logarithm) if math.isfinite(logarithm) else None
