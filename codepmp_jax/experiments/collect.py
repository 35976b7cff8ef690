"""Collects the results of a grid's cells: tables, plots and the page.

results.parquet, results.csv     a row an evaluation of a cell (and N)
summary.csv                      means over seeds, with intervals
differences.csv                  from the first value of `compare`, at each size
multipliers.csv                  the data multiplier
report.json, report.html, *.png
costs.csv                        seconds of each command: the only file that depends on how often it was killed
"""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from codepmp_jax.cli import html_page
from codepmp_jax.config import ExperimentConfig
from codepmp_jax.config.experiment import is_number
from codepmp_jax.evaluation.reports import plots as evaluation_plots
from codepmp_jax.evaluation.reports.tables import write_csv
from codepmp_jax.experiments import plots
from codepmp_jax.experiments.grid import Plan
from codepmp_jax.experiments.page import make_page
from codepmp_jax.experiments.results import Evaluated, read_cells
from codepmp_jax.experiments.states import States
from codepmp_jax.experiments.summary import summarize
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json

_OTHERS = ("length_baseline", "random", "oracle", "majority_vote")
_OF_FAMILY = ("evaluation", "benchmark", "figure", "n")


def collect(config: ExperimentConfig, plan: Plan, states: States) -> dict[str, Any]:
    """Writes tables, plots and page of the cells that are done; the report, as JSON values."""
    output = pathlib.Path(config.output)
    found, unreadable = read_cells(plan, states)
    done = states.done(plan.steps)
    report = {
        "title": f"Experiment {output.resolve().name}",
        "axes": config.axis_values,
        "size": config.size,
        "compare": config.compare,
        "seed": config.seed,
        "num_cells": len(plan.cells),
        "num_done": sum(
            done.issuperset(step.place for step in plan.of_cell(cell.name)) for cell in plan.cells
        ),
        "num_evaluated": len({each.cell.name for each in found}),
        "failed": [
            {"place": step.place, "why": _why(states, step)}
            for step in plan.steps
            if (state := states.read(step)) is not None
            and (state.status, state.identity) == ("failed", step.identity)
        ],
        **summarize(config, found),
    }
    report["notes"] = [*unreadable, *report["notes"]]
    _write_results(output, config, found)
    _write_summaries(output, report)
    write_csv(
        output / "costs.csv",
        ("step", "command", "cells", "status", "seconds", "is_whole"),
        [
            (step.place, step.command, len(step.cells), state.status, state.seconds, state.is_whole)
            for step in plan.steps
            if (state := states.read(step)) is not None
        ],
    )
    for title, panel in plots.panels_of(report["families"], config.size).items():
        name = urllib.parse.quote(title.replace(", ", "_").replace(" ", "_"), safe="=")
        evaluation_plots.save(output / f"{name}.png", evaluation_plots.make_figure([panel]))
    html_page.write(output / "report.html", make_page(report))
    write_json(output / "report.json", report)
    return report


def _why(states: States, step: Any) -> str:
    """The last line of a failed step's log."""
    log = states.log(step)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line[:300] for line in reversed(lines) if line.strip()), "no output")


def _write_results(
    output: pathlib.Path, config: ExperimentConfig, found: Sequence[Evaluated]
) -> None:
    """One table of all evaluations; numbers of the axes as numbers."""
    columns: dict[str, list[Any]] = {
        axis: _typed([each.cell.values[axis] for each in found], values)
        for axis, values in config.axis_values.items()
    }
    columns |= {
        "evaluation": [each.evaluation for each in found],
        "benchmark": [each.benchmark for each in found],
        "figure": [each.figure for each in found],
        "n": [each.n for each in found],
        "value": [each.value for each in found],
        "low": [each.interval[0] for each in found],
        "high": [each.interval[1] for each in found],
        "num_items": [each.num_items for each in found],
        **{name: [each.others.get(name) for each in found] for name in _OTHERS},
        "cell": [f"cells/{each.cell.name}" for each in found],
    }
    write_csv(output / "results.csv", list(columns), list(zip(*columns.values(), strict=True)))
    schema = pyarrow.schema(
        [(name, _parquet_type(name, values)) for name, values in columns.items()]
    )
    with storage.replaced(output / "results.parquet") as partial:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), partial)


def _typed(cells: Sequence[str], values: Sequence[str]) -> list[Any]:
    """The cells of an axis as numbers, where all of its values are."""
    if all(value.lstrip("-").isdecimal() for value in values):
        return [int(cell) for cell in cells]
    return [float(cell) for cell in cells] if all(map(is_number, values)) else list(cells)


def _parquet_type(name: str, values: Sequence[Any]) -> Any:
    if name in ("n", "num_items"):
        return pyarrow.int64()
    if name in ("value", "low", "high", *_OTHERS):
        return pyarrow.float64()
    kinds = {int: pyarrow.int64(), float: pyarrow.float64()}
    return kinds.get(type(values[0]) if values else str, pyarrow.string())


def _write_summaries(output: pathlib.Path, report: dict[str, Any]) -> None:
    """summary.csv, differences.csv and multipliers.csv."""
    facets = [
        axis
        for axis in report["axes"]
        if axis not in (report["size"], report["compare"], report["seed"])
    ]
    tables = {
        "summary.csv": ("points", ("compared", "size", "mean", "low", "high")),
        "differences.csv": (
            "differences",
            ("compared", "reference", "size", "difference", "low", "high", "num_seeds"),
        ),
        "multipliers.csv": (
            "multipliers",
            ("compared", "reference", "estimate", "low", "high", "reason"),
        ),
    }
    for name, (entry, columns) in tables.items():
        rows = [
            (
                *(family["facet"].get(axis) for axis in facets),
                *(family[column] for column in _OF_FAMILY),
                *(row[column] for column in columns),
            )
            for family in report["families"]
            for row in family[entry]
        ]
        write_csv(output / name, (*facets, *_OF_FAMILY, *columns), rows)
