"""Plots of an experiment: figures against the size, Best-of-N curves, the multiplier along the targets.

Every `draw_...` takes a family of the report (codepmp_jax.experiments.summary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from codepmp_jax.evaluation.reports.plots import (
    BLACK,
    COLORS,
    GREY,
    MARKERS,
    Panel,
    percent_axis,
    short,
    style,
)

Family = Mapping[str, Any]

_HEIGHT_INCHES = 4.4
_FIGURES = {
    "accuracy": "pairwise accuracy",
    "best_of_n": "problems solved",
    "pass_at_k": "problems solved",
}
_BASELINES = {
    "length_baseline": ("longer one wins", ":"),
    "random": ("random pick", "--"),
    "majority_vote": ("majority vote", ":"),
    "oracle": ("oracle", "-"),
}


def _lines(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any], str, str]]:
    """Value of compare, its points, colour and marker."""
    names = list(dict.fromkeys(point["compared"] for point in points))
    for index, name in enumerate(names):
        own = [point for point in points if point["compared"] == name]
        yield name, own, COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]


def _baselines(line: Callable[..., Any], family: Family) -> None:
    """Draws what does not depend on the model by `line`, axhline or axvline of some axes."""
    for name, (label, dashes) in _BASELINES.items():
        if name in family["baselines"]:
            value = family["baselines"][name]
            line(value, color=GREY, linestyle=dashes, linewidth=1.2, label=label)
    if family["figure"] == "accuracy":
        line(0.5, color=BLACK, linestyle="--", linewidth=1, label="chance")


def draw_against_size(axes: Axes, family: Family, size: str) -> None:
    """Mean of each value of compare against the size, with its interval as a band and the seeds as dots."""
    points = family["points"]
    for name, own, color, marker in _lines(points):
        x = [point["size"] for point in own]
        low, high = np.array([(point["low"], point["high"]) for point in own]).T
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        label = short(name) or "mean"
        axes.plot(x, [point["mean"] for point in own], f"{marker}-", color=color, label=label)
        for point in own:
            seeds = list(point["by_seed"].values())
            if len(seeds) > 1:
                axes.plot([point["size"]] * len(seeds), seeds, ".", color=color, alpha=0.5, ms=4)
    _baselines(axes.axhline, family)
    sizes = sorted({point["size"] for point in points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{value:,g}" for value in sizes])
    axes.minorticks_off()
    style(axes, family["title"], size, f"{_FIGURES[family['figure']]}, 95 % interval", grid="both")
    percent_axis(axes.yaxis)


def draw_compared(axes: Axes, family: Family) -> None:
    """Mean of each value of compare with its interval: a figure without sizes."""
    points = family["points"]
    for row, (name, own, color, marker) in enumerate(_lines(points)):
        (point,) = own
        errors = [[point["mean"] - point["low"]], [point["high"] - point["mean"]]]
        axes.errorbar(
            [point["mean"]],
            [row],
            xerr=errors,
            fmt=marker,
            color=color,
            capsize=2.5,
            label=short(name) or "mean",
        )
        axes.text(point["mean"], row - 0.12, f"{point['mean']:.1%}", ha="center", fontsize=8)
    _baselines(axes.axvline, family)
    names = [short(name) for name, *_ in _lines(points)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    style(axes, family["title"], f"{_FIGURES[family['figure']]}, 95 % interval", "", grid="x")
    percent_axis(axes.xaxis)


def draw_best_of_n(axes: Axes, families: Sequence[Family], size: float | None) -> None:
    """Best-of-N of each value of compare against N, at one size; with oracle, votes and a random pick."""
    n = [family["n"] for family in families]
    rows = [[point for point in family["points"] if point["size"] == size] for family in families]
    for name, _, color, marker in _lines(rows[0]):
        own = [next((p for p in row if p["compared"] == name), None) for row in rows]
        known = [(number, point) for number, point in zip(n, own, strict=True) if point]
        x = [number for number, _ in known]
        low, high = np.array([(point["low"], point["high"]) for _, point in known]).T
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        means = [point["mean"] for _, point in known]
        axes.plot(x, means, f"{marker}-", color=color, label=short(name) or "best of N")
    for baseline in ("oracle", "majority_vote", "random"):
        label, line = _BASELINES[baseline]
        values = [family["baselines"].get(baseline, np.nan) for family in families]
        if not np.isnan(values).all():
            axes.plot(n, values, line, color=GREY, linewidth=1.2, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(n, [str(number) for number in n])
    axes.minorticks_off()
    facet = [f"{axis}={value}" for axis, value in families[0]["facet"].items()]
    title = ", ".join([families[0]["evaluation"], *facet, *([f"size {size:,g}"] if size else [])])
    style(axes, title, "N candidates", "problems solved, 95 % interval")
    percent_axis(axes.yaxis)


def draw_multipliers(axes: Axes, family: Family, size: str) -> None:
    """Data multiplier along the accuracies that both curves reach, with its interval."""
    told = [each for each in family["multipliers"] if each["targets"]]
    for index, each in enumerate(told, start=1):
        color = COLORS[index % len(COLORS)]
        x = np.array([target["accuracy"] for target in each["targets"]])
        values = np.array([target["multiplier"] for target in each["targets"]])
        ends = [
            np.array([np.nan if t[end] is None else t[end] for t in each["targets"]])
            for end in ("low", "high")
        ]
        # An end that is not bounded runs out of the plot.
        low = np.where(np.isnan(ends[0]), 1e-6, ends[0])
        high = np.where(np.isnan(ends[1]), 1e6, ends[1])
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        label = f"{each['compared']} over {each['reference']}"
        axes.plot(x, values, "-", color=color, label=label)
        axes.axhline(
            each["estimate"], color=color, linestyle=":", linewidth=1.2, label="geometric mean"
        )
    axes.axhline(1, color=BLACK, linestyle="--", linewidth=1, label="no saving")
    bounds = [t[e] for each in told for t in each["targets"] for e in ("low", "high") if t[e]]
    bounds += [target["multiplier"] for each in told for target in each["targets"]]
    axes.set_yscale("log")
    axes.set_ylim(min(0.8, min(bounds) / 1.2), max(1.25, max(bounds) * 1.2))
    facet = [f"{axis}={value}" for axis, value in family["facet"].items()]
    title = ", ".join(["Data multiplier", *facet])
    style(axes, title, f"{family['evaluation']} that both reach", f"times the {size}", grid="both")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    percent_axis(axes.xaxis)


def panels_of(families: Sequence[Family], size: str) -> dict[str, Panel]:
    """Title -> panel, of all families."""
    panels: dict[str, Panel] = {}
    curves: dict[tuple[Any, ...], list[Family]] = {}
    for family in families:
        if family["figure"] == "best_of_n":
            key = (family["evaluation"], *family["facet"].items())
            curves.setdefault(key, []).append(family)
        if not family["is_shown"]:
            continue
        has_sizes = len({point["size"] for point in family["points"]} - {None}) > 0
        panels[family["title"]] = (
            (lambda axes, family=family: draw_against_size(axes, family, size))
            if has_sizes
            else (lambda axes, family=family: draw_compared(axes, family)),
            _HEIGHT_INCHES,
        )
        if any(each["targets"] for each in family["multipliers"]):
            panels[f"data multiplier, {family['title']}"] = (
                lambda axes, family=family: draw_multipliers(axes, family, size),
                _HEIGHT_INCHES,
            )
    for (evaluation, *facet), group in curves.items():
        if len(group) < 2:
            continue
        sizes = sorted({point["size"] for point in group[0]["points"] if point["size"]})
        at = sizes[-1] if sizes else None
        title = ", ".join([evaluation, "Best-of-N", *(f"{axis}={value}" for axis, value in facet)])
        panels[title] = (
            lambda axes, group=group, at=at: draw_best_of_n(axes, group, at),
            _HEIGHT_INCHES,
        )
    return panels
