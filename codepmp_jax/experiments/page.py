"""The report of an experiment as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.cli import html_page
from codepmp_jax.cli.html_page import paragraph, section, table
from codepmp_jax.evaluation.reports import plots as evaluation_plots
from codepmp_jax.evaluation.reports.tables import percent, percent_interval, points, points_interval
from codepmp_jax.experiments import plots

_INTERVALS = (
    "Means are over seeds. Intervals are 95 % bootstrap intervals over seeds and problems, or over problems where there "
    "is one seed. Dots are seeds. Differences are of the same seeds and problems."
)
_MULTIPLIER = (
    "The data multiplier is how many times the {size} the reference needs to reach the same accuracy: the geometric mean "
    "over the accuracies that both curves reach, each fitted by a curve that never falls."
)


def make_page(report: Mapping[str, Any]) -> str:
    """The HTML of a report (codepmp_jax.experiments.collect)."""
    families, size = report["families"], report["size"]
    panels = plots.panels_of(families, size)
    sections = [
        section("Grid", _grid(report)),
        section("Data multiplier", _multipliers(report)),
        section(
            "Plots",
            html_page.plots(
                html_page.image(title, evaluation_plots.make_figure([panel]))
                for title, panel in panels.items()
            )
            + paragraph(_INTERVALS),
        ),
        *(
            section(family["title"], _family(family, size))
            for family in families
            if family["is_shown"]
        ),
        section("Failed cells", _failed(report)),
    ]
    return html_page.page(report["title"], sections)


def _grid(report: Mapping[str, Any]) -> str:
    axes = table(
        ("axis", "values"),
        [(name, ", ".join(values)) for name, values in report["axes"].items()],
        num_text=2,
    )
    text = f"{report['num_done']} of {report['num_cells']} cells are done, {report['num_evaluated']} are evaluated."
    return axes + "".join(map(paragraph, [text, *report["notes"]]))


def _multipliers(report: Mapping[str, Any]) -> str:
    rows = [
        (
            family["title"],
            f"{each['compared']} over {each['reference']}",
            each["text"],
            " to ".join(percent(end) for end in each["overlap"]) or each["reason"],
        )
        for family in report["families"]
        for each in family["multipliers"]
    ]
    if not rows:
        return ""
    header = ("figure", "of", "multiplier (95 % interval)", "accuracies, or why it cannot be told")
    return table(header, rows, num_text=4) + paragraph(_MULTIPLIER.format(size=report["size"]))


def _family(family: Mapping[str, Any], size: str) -> str:
    means = [
        (
            point["compared"],
            "" if point["size"] is None else f"{point['size']:,g}",
            percent(point["mean"]),
            percent_interval((point["low"], point["high"])),
            len(point["by_seed"]),
            ", ".join(percent(value) for value in point["by_seed"].values()),
        )
        for point in family["points"]
    ]
    differences = [
        (
            f"{row['compared']} - {row['reference']}",
            "" if row["size"] is None else f"{row['size']:,g}",
            points(row["difference"]),
            points_interval(row["low"], row["high"]),
            row["num_seeds"],
        )
        for row in family["differences"]
    ]
    left_out = (
        f" {family['num_left_out']} problems that not all evaluations have are left out."
        if family["num_left_out"]
        else ""
    )
    return html_page.tables(
        table(("", size, "mean", "95 % interval", "seeds", "by seed"), means),
        table(("difference", size, "points", "95 % interval", "seeds"), differences),
    ) + paragraph(f"{family['num_problems']:,} problems of {family['benchmark']}.{left_out}")


def _failed(report: Mapping[str, Any]) -> str:
    return table(
        ("step", "why"), [(row["place"], row["why"]) for row in report["failed"]], num_text=2
    )
