"""Plot of a whole run: training curves, accuracy by subset, Best-of-N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codepmp_jax.evaluation.reports import plots

_MODEL = "#0072b2"
_LOSS = "#c2571a"
_HEIGHT_INCHES = 4.4


def draw_training(axes: Axes, metrics: Sequence[dict[str, Any]]) -> None:
    """Pair loss (left) and pairwise accuracy (right) against the step; held-out accuracy as dots.

    `metrics` are the lines of metrics.jsonl: `step`, and of `pair_loss`, `accuracy` and
    `eval_accuracy` those that the line has.
    """

    def curve(name: str) -> tuple[np.ndarray, np.ndarray]:
        points = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
        steps, values = np.array(points, float).reshape(-1, 2).T
        return steps, values

    right = axes.twinx()
    for side, name, color, label in (
        (axes, "pair_loss", _LOSS, "pair loss"),
        (right, "accuracy", _MODEL, "accuracy, train"),
    ):
        steps, values = curve(name)
        side.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
        side.plot(steps, _running_mean(values), color=color, linewidth=1.8, label=label)
    right.plot(*curve("eval_accuracy"), "o", color="#12365f", label="accuracy, held-out")
    plots.style(axes, "Training", "step", "pair loss")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.label.set_color(_LOSS)
    right.spines["top"].set_visible(False)
    right.set_ylim(0, 1.04)
    right.set_yticks(np.linspace(0, 1, 6))
    right.set_ylabel("pairwise accuracy", color=_MODEL)
    plots.percent_axis(right.yaxis)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over a centred window of about a twentieth of the curve, cut short at its ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def run_figure(
    metrics: Sequence[dict[str, Any]], accuracy: dict[str, Any], best_of_n: dict[str, Any]
) -> Figure:
    """Training curves, accuracy by subset and selection accuracy side by side."""
    model = "reward model"
    return plots.make_figure(
        [
            (lambda axes: draw_training(axes, metrics), _HEIGHT_INCHES),
            (lambda axes: plots.draw_accuracy(axes, {model: accuracy}), _HEIGHT_INCHES),
            (lambda axes: plots.draw_selection(axes, {model: best_of_n}), _HEIGHT_INCHES),
        ],
        num_columns=3,
    )
