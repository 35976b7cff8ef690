"""The folder of an evaluation: report.json, the values of each pair or problem, tables, plots."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from codepmp_jax.cli import html_page
from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.reports.plots import save
from codepmp_jax.evaluation.reports.tables import read_csv, write_csv
from codepmp_jax.evaluation.scores import read_meta
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_json

REPORT = "report.json"
PAGE = "report.html"
# Kind of evaluation -> the table of a value a pair or problem.
VALUES = {"accuracy": "pairs.csv", "best_of_n": "problems.csv", "pass_at_k": "problems.csv"}

Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""Header and rows."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation's folder holds."""

    path: str
    report: dict[str, Any]
    values: dict[str, list[str]]
    """Column -> cells of the table in VALUES."""


def model_of(scores: str | pathlib.Path, output: str | pathlib.Path) -> str:
    """The name of the model that gave the scores: from their meta file, or that of the output's folder."""
    return str(read_meta(scores).get("model") or pathlib.Path(output).resolve().name)


def benchmark_of(path: str | pathlib.Path) -> str:
    """The name of what was scored, where it has none of its own: that of its file or folder."""
    return pathlib.Path(path).resolve().stem


def write_folder(
    folder: str | pathlib.Path,
    report: Mapping[str, Any],
    tables: Mapping[str, Table],
    plots: Mapping[str, Figure],
    page: str | None = None,
) -> None:
    """Writes tables and plots by their file names, `page` as report.html, and report.json last: where it
    exists, the rest does. Another evaluation into the folder waits."""
    with outputs.folder(folder) as path:
        (path / REPORT).unlink(missing_ok=True)
        for name, (header, rows) in tables.items():
            write_csv(path / name, header, rows)
        for name, figure in plots.items():
            save(path / name, figure)
        if page is not None:
            html_page.write(path / PAGE, page)
        write_json(path / REPORT, report)


def read_folder(folder: str | pathlib.Path) -> Evaluation:
    """What `accuracy`, `best-of-n` or `pass-at-k` wrote. Raises UserError where the folder is none of theirs."""
    path = pathlib.Path(folder) / REPORT
    remedy = "give a folder that `launch/evaluate.py accuracy`, `best-of-n` or `pass-at-k` wrote"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Remedy: {remedy}.")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        values = path.with_name(VALUES[report["kind"]])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no report of an evaluation ({error!r}). Remedy: {remedy}."
        ) from error
    if not values.is_file():
        raise UserError(f"{values}: no such file. Remedy: evaluate again.")
    return Evaluation(str(folder), report, read_csv(values))
