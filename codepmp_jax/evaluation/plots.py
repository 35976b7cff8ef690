"""Plots of a run, as PNG files: training curves, accuracy by subset, Best-of-N."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

_MODEL = "#1f5fa8"
_LOSS = "#c2571a"
_BASELINE = "#7a7a7a"
_PANEL_INCHES = (5.6, 4.2)
_DPI = 150


def _style(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def _percent(axes: Axes) -> None:
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def draw_accuracy(axes: Axes, report: dict[str, Any]) -> None:
    """Accuracy of each subset, then of all pairs, with intervals, the length baseline and chance."""
    groups = [*report.get("subsets", {}).items(), ("all", report)]
    places = np.arange(len(groups))
    values = np.array([group["accuracy"] for _, group in groups])
    intervals = np.array([group["accuracy_interval"] for _, group in groups])
    axes.bar(
        places,
        values,
        width=0.62,
        color=[_MODEL if name != "all" else "#12365f" for name, _ in groups],
        yerr=np.abs(intervals.T - values),
        error_kw={"elinewidth": 1.2, "capsize": 3, "ecolor": "#222222"},
        label="reward model (95 % interval)",
    )
    for place, value in enumerate(values):
        axes.text(place, 0.02, f"{value:.0%}", ha="center", color="white", fontsize=9)
    axes.hlines(
        [group["length_baseline"] for _, group in groups],
        places - 0.4,
        places + 0.4,
        colors="#f2a541",
        linewidth=2.2,
        label="longer one wins",
    )
    axes.axhline(0.5, color="#222222", linestyle="--", linewidth=1, label="chance")
    crowded = len(groups) > 6
    axes.set_xticks(
        places,
        [name for name, _ in groups],
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
        fontsize=9,
    )
    # Room for the legend above the bars.
    axes.set_ylim(0, 1.24)
    _style(axes, "Pairwise accuracy", "", "chosen scored above rejected")
    _percent(axes)
    axes.legend(frameon=False, fontsize=8, loc="upper center", ncols=3, columnspacing=1.0)


def draw_best_of_n(axes: Axes, report: dict[str, Any]) -> None:
    """Selection accuracy against N, with its interval and the rate of a random pick."""
    rows = report["rows"]
    n = [row["n"] for row in rows]
    low, high = np.array([row["selection_accuracy_interval"] for row in rows]).T
    axes.fill_between(n, low, high, color=_MODEL, alpha=0.18, linewidth=0, label="95 % interval")
    axes.plot(
        n, [row["selection_accuracy"] for row in rows], "o-", color=_MODEL, label="reward model"
    )
    axes.plot(
        n, [row["selection_random"] for row in rows], "s--", color=_BASELINE, label="random pick"
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(n, [str(number) for number in n])
    axes.set_ylim(0, 1.04)
    _style(axes, "Best-of-N", "N candidates", "picks a correct one, if one is there")
    _percent(axes)
    axes.legend(frameon=False, fontsize=8, loc="lower left")


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
    _style(axes, "Training", "step", "pair loss")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.label.set_color(_LOSS)
    right.spines["top"].set_visible(False)
    right.set_ylim(0, 1.04)
    right.set_ylabel("pairwise accuracy", color=_MODEL)
    _percent(right)
    handles = [handle for side in (axes, right) for handle in side.get_legend_handles_labels()[0]]
    right.legend(handles=handles, frameon=False, fontsize=8, loc="lower left")


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over a centred window of about a twentieth of the curve, cut short at its ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _save(path: str | pathlib.Path, panels: Sequence[Callable[[Axes], None]]) -> None:
    """Draws panels side by side into a PNG, written atomically."""
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=_DPI, layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png")
    partial.replace(path)


def plot_accuracy(path: str | pathlib.Path, report: dict[str, Any]) -> None:
    """PNG of an accuracy report."""
    _save(path, [lambda axes: draw_accuracy(axes, report)])


def plot_best_of_n(path: str | pathlib.Path, report: dict[str, Any]) -> None:
    """PNG of a Best-of-N report."""
    _save(path, [lambda axes: draw_best_of_n(axes, report)])


def plot_run(
    path: str | pathlib.Path,
    metrics: Sequence[dict[str, Any]],
    accuracy: dict[str, Any],
    best_of_n: dict[str, Any],
) -> None:
    """PNG of a whole run: training curves, accuracy by subset, Best-of-N."""
    _save(
        path,
        [
            lambda axes: draw_training(axes, metrics),
            lambda axes: draw_accuracy(axes, accuracy),
            lambda axes: draw_best_of_n(axes, best_of_n),
        ],
    )
