"""Plots of evaluations, of one model or of several side by side: accuracy, calibration, Best-of-N, pass@k.

Every `draw_...` takes the reports of models by name, all of them of the same pairs or problems.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from codepmp_jax.cli import html_page
from codepmp_jax.files import storage

Reports = Mapping[str, dict[str, Any]]
Grid = Literal["x", "y", "both"]
Panel = tuple[Callable[[Axes], None], float]
"""What draws it, and its height in inches."""

# Okabe and Ito's colours, which the colour-blind can distinguish; markers tell more models apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#7a7a7a"
BLACK = "#222222"
_LENGTH = "#e0a100"
_PANEL_INCHES = (5.6, 4.4)
_DPI = 150
_MAX_NAME = 36

GROUPINGS = {
    "subset": "Accuracy by subset",
    "length_difference": "Accuracy by length of chosen",
    "margin": "Accuracy by the pairs' margin",
    "reward_gap": "Accuracy by reward gap",
}


def style(axes: Axes, title: str, xlabel: str, ylabel: str, grid: Grid = "y") -> None:
    """The look that all panels share."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def short(name: str) -> str:
    """A name that fits a legend or an axis: of a long one, its end."""
    return name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}"


def percent_axis(axis: Any) -> None:
    """Ticks of an axis of shares as percentages."""
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _looks(reports: Reports) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Name, report, colour and marker of each model."""
    for index, (name, report) in enumerate(reports.items()):
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        yield short(name), report, color, marker


# --- accuracy -------------------------------------------------------------------------------------


def groups_of(report: dict[str, Any], grouping: str) -> dict[str, dict[str, Any]]:
    """The report's figures by group; empty where it has none of that grouping."""
    if grouping == "subset":
        return report.get("subsets", {})
    return report["buckets"].get(grouping, {})


def draw_accuracy(axes: Axes, reports: Reports, grouping: str = "subset") -> None:
    """Accuracy of each group, then of all pairs, with intervals, the length baseline and chance."""
    first = next(iter(reports.values()))
    groups = [*groups_of(first, grouping).items(), ("all", first)]
    rows = np.arange(len(groups))
    for row in rows[1::2]:
        axes.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", zorder=0)
    offsets = np.linspace(-0.28, 0.28, len(reports)) if len(reports) > 1 else [0.0]
    lowest = 0.5
    for offset, (name, report, color, marker) in zip(offsets, _looks(reports), strict=True):
        figures = [*groups_of(report, grouping).values(), report]
        values = np.array([group["accuracy"] for group in figures])
        intervals = np.array([group["accuracy_interval"] for group in figures])
        lowest = min(lowest, intervals.min())
        axes.errorbar(
            values,
            rows + offset,
            xerr=np.abs(intervals.T - values),
            fmt=marker,
            color=color,
            markersize=6,
            elinewidth=1.4,
            capsize=2.5,
            label=name,
        )
        if len(reports) == 1:
            for row, value in enumerate(values):
                axes.text(value, row - 0.16, f"{value:.1%}", ha="center", va="bottom", fontsize=8)
    baselines = [group["length_baseline"] for _, group in groups]
    if grouping != "length_difference":
        axes.plot(
            baselines,
            rows,
            "|",
            color=_LENGTH,
            markersize=13,
            markeredgewidth=2.4,
            label="longer one wins",
        )
        lowest = min(lowest, *baselines)
    axes.axvline(0.5, color=BLACK, linestyle="--", linewidth=1, label="chance")
    labels = [f"{short(name)} ({group['num_pairs']:,})" for name, group in groups]
    axes.set_yticks(rows, labels, fontsize=9)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(max(0.0, lowest - 0.03), 1.02)
    unit = f" ({first['length_unit']})" if grouping == "length_difference" else ""
    style(axes, GROUPINGS[grouping] + unit, "accuracy, 95 % interval", "", grid="x")
    percent_axis(axes.xaxis)


def draw_reliability(axes: Axes, reports: Reports) -> None:
    """How often the preferred text is the better one, against sigmoid(reward gap)."""
    axes.plot([0.5, 1], [0.5, 1], color=BLACK, linestyle="--", linewidth=1, label="calibrated")
    lowest = 0.5
    for name, report, color, marker in _looks(reports):
        bins = report["calibration"]["bins"]
        confidence = np.array([row["confidence"] for row in bins])
        values = np.array([row["accuracy"] for row in bins])
        intervals = np.array([row["accuracy_interval"] for row in bins])
        counts = np.array([row["num_pairs"] for row in bins])
        lowest = min(lowest, intervals.min())
        errors = np.abs(intervals.T - values)
        label = f"{name}, area: pairs in the bin" if len(reports) == 1 else name
        axes.errorbar(confidence, values, yerr=errors, color=color, linewidth=1.4, elinewidth=0.9)
        area = 12 + 160 * counts / counts.sum()
        axes.scatter(confidence, values, s=area, color=color, marker=marker, label=label, zorder=3)
    axes.set_xlim(0.49, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.03), 1.03)
    style(axes, "Calibration", "confidence: sigmoid(size of the gap)", "accuracy", grid="both")
    percent_axis(axes.xaxis)
    percent_axis(axes.yaxis)


def accuracy_panels(reports: Reports) -> dict[str, Panel]:
    """The panels of accuracy reports: those of GROUPINGS that all of them have, and `reliability`."""
    panels: dict[str, Panel] = {}
    for grouping in GROUPINGS:
        found = [groups_of(report, grouping) for report in reports.values()]
        # Buckets of a model's own rewards, or of lengths in another unit, are not those of another model.
        units = {report["length_unit"] for report in reports.values()}
        is_common = all(groups.keys() == found[0].keys() for groups in found)
        if all(found) and is_common and (grouping != "length_difference" or len(units) == 1):
            height = 1.4 + (len(found[0]) + 1) * max(0.3, 0.17 * len(reports))
            panels[grouping] = (
                lambda axes, grouping=grouping: draw_accuracy(axes, reports, grouping),
                max(height, _PANEL_INCHES[1]),
            )
    if "subset" not in panels:
        panels = {"all": (lambda axes: draw_accuracy(axes, reports), _PANEL_INCHES[1]), **panels}
    panels["reliability"] = (lambda axes: draw_reliability(axes, reports), _PANEL_INCHES[1])
    return panels


# --- Best-of-N ------------------------------------------------------------------------------------


def _column(report: dict[str, Any], name: str) -> np.ndarray:
    """A figure against N; NaN where there is none."""
    return np.array([np.nan if row[name] is None else row[name] for row in report["rows"]])


def _band(axes: Axes, report: dict[str, Any], name: str, color: str) -> None:
    ends = [row[f"{name}_interval"] or (np.nan, np.nan) for row in report["rows"]]
    low, high = np.array(ends).T
    n = [row["n"] for row in report["rows"]]
    axes.fill_between(n, low, high, color=color, alpha=0.15, linewidth=0)


def _n_axis(axes: Axes, reports: Reports) -> list[int]:
    n = [row["n"] for row in next(iter(reports.values()))["rows"]]
    axes.set_xscale("log", base=2)
    axes.set_xticks(n, [str(number) for number in n])
    axes.minorticks_off()
    percent_axis(axes.yaxis)
    return n


def draw_best_of_n(axes: Axes, reports: Reports) -> None:
    """Share of problems answered rightly against N, with the votes, the oracle and a random pick.

    What does not depend on the model is drawn once; first N and the weighted vote for a single model.
    """
    n = _n_axis(axes, reports)
    first = next(iter(reports.values()))
    axes.plot(n, _column(first, "oracle"), "-", color=BLACK, linewidth=1.2, label="oracle")
    alone = len(reports) == 1
    for name, report, color, marker in _looks(reports):
        _band(axes, report, "best_of_n", color)
        label = f"best of N, {name}" if alone else name
        axes.plot(n, _column(report, "best_of_n"), f"{marker}-", color=color, label=label)
    if first["no_votes_because"] is None:
        if alone:
            weighted = _column(first, "weighted_vote")
            axes.plot(n, weighted, "^-.", color=COLORS[2], markersize=5, label="weighted vote")
        majority = _column(first, "majority_vote")
        axes.plot(n, majority, "D:", color=GREY, markersize=4, label="majority vote")
    if alone:
        drawn = _column(first, "first_n")
        axes.plot(n, drawn, ":", color=COLORS[0], linewidth=1.2, label="best of the first N")
    axes.plot(n, _column(first, "random"), "--", color=GREY, label="random pick")
    # All of it, and no more than that: the curves are close to one another.
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.02, high))
    style(axes, "Best-of-N", "N candidates", "problems solved, 95 % interval")


def draw_selection(axes: Axes, reports: Reports) -> None:
    """Selection accuracy against N, with its interval, and the rate of a random pick."""
    n = _n_axis(axes, reports)
    for name, report, color, marker in _looks(reports):
        _band(axes, report, "selection_accuracy", color)
        axes.plot(n, _column(report, "selection_accuracy"), f"{marker}-", color=color, label=name)
    first = next(iter(reports.values()))
    axes.plot(n, _column(first, "selection_random"), "--", color=GREY, label="random pick")
    axes.set_ylim(0, 1.04)
    title = "Picks a correct one, if one is there"
    style(axes, title, "N candidates", "best of N / oracle, 95 % interval")


def best_of_n_panels(reports: Reports) -> dict[str, Panel]:
    """The panels of Best-of-N reports."""
    return {
        "best_of_n": (lambda axes: draw_best_of_n(axes, reports), _PANEL_INCHES[1]),
        "selection": (lambda axes: draw_selection(axes, reports), _PANEL_INCHES[1]),
    }


def draw_pass_at_k(axes: Axes, reports: Reports) -> None:
    """pass@k of each policy against k, with its interval."""
    k = _n_axis(axes, reports)
    for name, report, color, marker in _looks(reports):
        _band(axes, report, "pass_at_k", color)
        axes.plot(k, _column(report, "pass_at_k"), f"{marker}-", color=color, label=name)
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.02, high))
    style(axes, "pass@k", "k programs", "problems solved, 95 % interval")


def pass_at_k_panels(reports: Reports) -> dict[str, Panel]:
    """The panel of reports of policies."""
    return {"pass_at_k": (lambda axes: draw_pass_at_k(axes, reports), _PANEL_INCHES[1])}


# --- figures --------------------------------------------------------------------------------------


def make_figure(panels: Sequence[Panel], num_columns: int = 2) -> Figure:
    """Panels in rows of at most `num_columns`, each with its legend below it."""
    num_columns = min(num_columns, len(panels))
    rows = [panels[start : start + num_columns] for start in range(0, len(panels), num_columns)]
    heights = [max(height for _, height in row) for row in rows]
    size = (_PANEL_INCHES[0] * num_columns, sum(heights))
    figure = Figure(figsize=size, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    with html_page.plain_names():
        cells = figure.subfigures(len(rows), num_columns, squeeze=False, height_ratios=heights)
        for cell, (draw, _) in zip(cells.ravel(), panels, strict=False):
            draw(cell.subplots())
            _add_legend(cell)
    return figure


def _add_legend(cell: SubFigure) -> None:
    handles = [handle for axes in cell.axes for handle in axes.get_legend_handles_labels()[0]]
    is_wide = max(len(str(handle.get_label())) for handle in handles) > 18
    cell.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2 if is_wide else 3,
        fontsize=8,
        frameon=False,
    )


def save(path: str | os.PathLike[str], figure: Figure) -> None:
    """Writes a figure as PNG, atomically."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.replaced(path) as partial:
        partial.write_bytes(html_page.png(figure))
