"""Whether sigmoid(reward gap) is how often the chosen text is better.

A gap is the reward of the chosen text minus that of the rejected one, so that chosen is the better one of
every pair; a rejected text that scores higher is a confident mistake. Pairs have no order of their own:
each one also counts mirrored, with gap -g and outcome 0. Log loss and Brier score of the two are equal,
and the mirrored half of the reliability curve is the other one turned about (0.5, 0.5), so that it is
enough to look at the text that the model prefers: its confidence sigmoid(|g|) against how often it is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit

from codepmp_jax.evaluation.statistics.estimators import pair_wins
from codepmp_jax.evaluation.statistics.resampling import mean_interval

NUM_BINS = 10


def log_loss(gaps: Float[np.ndarray, "P"]) -> float:
    """Mean of -log sigmoid(gap), in nats; ln 2 for a model that knows nothing."""
    return float(np.logaddexp(0, -gaps).mean())


def brier_score(gaps: Float[np.ndarray, "P"]) -> float:
    """Mean of (1 - sigmoid(gap))^2; 0.25 for a model that knows nothing."""
    return float((expit(-gaps) ** 2).mean())


def _bin_indices(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence, of NUM_BINS of equal width over 0.5..1."""
    return np.minimum((2 * NUM_BINS * (confidence - 0.5)).astype(int), NUM_BINS - 1)


def expected_calibration_error(gaps: Float[np.ndarray, "P"]) -> float:
    """Mean over pairs of |accuracy - mean confidence| of their bin (Naeini et al., 2015)."""
    confidence = expit(np.abs(gaps))
    excess = pair_wins(gaps, np.zeros_like(gaps)) - confidence
    return float(np.abs(np.bincount(_bin_indices(confidence), weights=excess)).sum() / len(gaps))


def reliability(
    gaps: Float[np.ndarray, "P"], num_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """The bins that hold pairs: their ends, `num_pairs`, mean `confidence`, and `accuracy` of the preferred
    text, a tie counting half, with its 95 % bootstrap interval."""
    confidence = expit(np.abs(gaps))
    wins = pair_wins(gaps, np.zeros_like(gaps))
    indices = _bin_indices(confidence)
    bins = []
    for index in np.unique(indices).tolist():
        held = indices == index
        bins.append(
            {
                "low": 0.5 + index / (2 * NUM_BINS),
                "high": 0.5 + (index + 1) / (2 * NUM_BINS),
                "num_pairs": int(held.sum()),
                "confidence": float(confidence[held].mean()),
                "accuracy": float(wins[held].mean()),
                "accuracy_interval": list(mean_interval(wins[held], num_resamples, seed)),
            }
        )
    return bins


def best_temperature(gaps: Float[np.ndarray, "P"]) -> float | None:
    """The T at which the log loss of gaps / T is least (Guo et al., 2017).

    None where no finite T is: no gap is negative (the smaller T, the better), or their mean is not
    positive (the greater, the better).
    """
    if gaps.mean() <= 0 or gaps.min() >= 0:
        return None
    # The loss is convex in 1 / T; in units of the largest gap its slope has one root above 0.
    scale = np.abs(gaps).max()
    units = gaps / scale

    def descent(inverse: float) -> float:
        return float((units * expit(-inverse * units)).mean())

    high = 1.0
    while descent(high) > 0:
        high *= 2
    return float(scale / brentq(descent, 0.0, high))


def _losses(gaps: np.ndarray) -> dict[str, float]:
    return {
        "log_loss": log_loss(gaps),
        "brier_score": brier_score(gaps),
        "expected_calibration_error": expected_calibration_error(gaps),
    }


def calibration_report(
    gaps: Float[np.ndarray, "P"], num_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Log loss, Brier score, expected calibration error and bins; the best temperature, and what those are
    at it (null where there is none). JSON values."""
    temperature = best_temperature(gaps)
    return {
        **_losses(gaps),
        "best_temperature": temperature,
        "at_best_temperature": None if temperature is None else _losses(gaps / temperature),
        "bins": reliability(gaps, num_resamples, seed),
    }
