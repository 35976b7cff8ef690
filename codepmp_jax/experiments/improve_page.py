"""The page and the plot of a policy's rounds."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from codepmp_jax.cli import html_page
from codepmp_jax.cli.html_page import paragraph, section
from codepmp_jax.evaluation.reports import plots
from codepmp_jax.evaluation.reports.tables import (
    format_table,
    percent,
    percent_interval,
    points,
    points_interval,
)

_INTERVALS = (
    "Intervals are 95 % bootstrap intervals over problems; differences are of the same problems, with the p-value of a "
    "sign-flip test."
)
_HEADER = ("round", "k", "pass@k", "95 % interval", "from round 0", "95 % interval", "p")
_BEFORE = ("from the round before", "95 % interval", "p")
_WRITTEN = ("round", "programs", "right", "problems", "all right", "all wrong", "pairs")


def write(folder: pathlib.Path, report: Mapping[str, Any]) -> None:
    """report.html, and pass_at_k.png where a round has been evaluated."""
    rows = report["policies"]
    images = []
    if rows:
        figure = plots.make_figure([(lambda axes: draw(axes, rows), 4.4)])
        plots.save(folder / "pass_at_k.png", figure)
        images = [html_page.image("pass@k by round", figure)]
    written = [
        (
            row["round"],
            row["programs"],
            percent(row["right"] / max(1, row["programs"])),
            *("-" if row[name] is None else row[name] for name in _COUNTS),
        )
        for row in report["rounds"]
    ]
    reasons = [f"{row['reason']}." for row in report["rounds"] if row["reason"]]
    passed = html_page.table((*_HEADER, *_BEFORE), [_cells(row, _KINDS) for row in rows])
    sections = [
        section("What was trained on", html_page.table(_WRITTEN, written) + _all(reasons)),
        section(
            "Held-out problems",
            passed
            + html_page.plots(images)
            + paragraph(f"{report['num_problems']:,} problems. {_INTERVALS}"),
        ),
    ]
    html_page.write(folder / "report.html", html_page.page(report["title"], sections))


_COUNTS = ("problems", "all_right", "all_wrong", "pairs")
_KINDS = ("from_start", "from_before")


def _all(texts: Sequence[str]) -> str:
    return "".join(map(paragraph, texts))


def _cells(row: Mapping[str, Any], kinds: Sequence[str]) -> tuple[str, ...]:
    cells = [str(row["round"]), str(row["k"]), percent(row["pass"])]
    cells.append(percent_interval((row["low"], row["high"])))
    for kind in kinds:
        if kind in row:
            interval = points_interval(row[f"{kind}_low"], row[f"{kind}_high"])
            cells += [points(row[kind]), interval, f"{row[f'{kind}_p']:.3f}"]
        else:
            cells += ["-", "-", "-"]
    return tuple(cells)


def table(report: Mapping[str, Any]) -> str:
    """pass@k by round as text."""
    return format_table(_HEADER, [_cells(row, _KINDS[:1]) for row in report["policies"]])


def draw(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """pass@k against the round, with intervals."""
    looks = zip(
        sorted({row["k"] for row in rows}),
        itertools.cycle(plots.COLORS),
        itertools.cycle(plots.MARKERS),
    )
    for k, color, marker in looks:
        own = [row for row in rows if row["k"] == k]
        x, y = [row["round"] for row in own], [row["pass"] for row in own]
        errors = [
            [row["pass"] - row["low"] for row in own],
            [row["high"] - row["pass"] for row in own],
        ]
        axes.errorbar(
            x, y, yerr=errors, fmt=f"{marker}-", color=color, capsize=2.5, label=f"pass@{k}"
        )
    axes.set_xticks(sorted({row["round"] for row in rows}))
    plots.style(axes, "Held-out problems by round", "round", "pass@k, 95 % interval")
    plots.percent_axis(axes.yaxis)
