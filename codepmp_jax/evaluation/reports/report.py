"""Several models side by side: figures, paired differences, plots, and a page."""

from __future__ import annotations

import dataclasses
import pathlib
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import ReportConfig, ResamplingConfig, presets
from codepmp_jax.evaluation import accuracy, best_of_n, pass_at_k
from codepmp_jax.evaluation.reports import folders, plots
from codepmp_jax.evaluation.reports.folders import Evaluation, read_folder
from codepmp_jax.evaluation.reports.report_page import make_page, panels_of
from codepmp_jax.evaluation.reports.tables import format_table, points, points_interval
from codepmp_jax.evaluation.statistics.resampling import paired_differences
from codepmp_jax.records.schema import content_id

# Kind of evaluation -> of its table of values the column of ids, and those compared -> their figure.
_ID = {"accuracy": "pair_id", "best_of_n": "problem_id", "pass_at_k": "problem_id"}
_COMPARED = {
    "accuracy": {"win": "accuracy"},
    "best_of_n": {"best_of_n": "best_of_n", "weighted_vote": "weighted_vote"},
    "pass_at_k": {"pass": "pass@k"},
}


@dataclasses.dataclass(frozen=True)
class Group:
    """Evaluations of one kind over the same pairs or problems."""

    kind: str
    benchmark: str
    models: dict[str, Evaluation]
    """Name of the model -> its evaluation; the first is what the others are compared with."""

    @property
    def reports(self) -> dict[str, dict[str, Any]]:
        """Name of the model -> its report."""
        return {name: evaluation.report for name, evaluation in self.models.items()}


def by_model(evaluation: Evaluation) -> list[Evaluation]:
    """The evaluation of each model or policy that a folder holds."""
    if evaluation.report["kind"] != "pass_at_k":
        return [evaluation]
    found, values = [], evaluation.values
    for name, report in pass_at_k.by_policy(evaluation.report).items():
        own = [row for row, policy in enumerate(values["policy"]) if policy == name]
        columns = {column: [cells[row] for row in own] for column, cells in values.items()}
        columns = {"subset": [""] * len(own)} | columns | {"n": columns["k"]}
        items = content_id(*sorted(set(columns["problem_id"])))
        found.append(Evaluation(evaluation.path, report | {"items_id": items}, columns))
    return found


def group_evaluations(evaluations: Sequence[Evaluation], names: Sequence[str] = ()) -> list[Group]:
    """Evaluations by kind and benchmark, in their order; `names` call the models, one an evaluation.

    Raises UserError where there is another number of names, where two of one benchmark are not of the same items, or
    where two models of one benchmark have the same name.
    """
    require(
        len(names) in (0, len(evaluations)),
        "names",
        list(names),
        f"must be as many as the models and policies of the inputs, {len(evaluations)}, or none",
        "give one name each, in their order",
    )
    groups: dict[tuple[str, str], Group] = {}
    for index, evaluation in enumerate(evaluations):
        report = evaluation.report
        name = names[index] if names else report["model"]
        key = (report["kind"], report["benchmark"])
        group = groups.setdefault(key, Group(*key, {}))
        if name in group.models:
            raise UserError(
                f"{group.models[name].path} and {evaluation.path}: both are {key[0]} of a model called "
                f"{name!r} on {key[1]!r}. Remedy: give --names, one an input."
            )
        for first in list(group.models.values())[:1]:
            _require_same_items(first, evaluation)
        group.models[name] = evaluation
    return list(groups.values())


def _require_same_items(first: Evaluation, second: Evaluation) -> None:
    sizes = [[row["n"] for row in one.report.get("rows", [])] for one in (first, second)]
    require(
        first.report["kind"] != "pass_at_k" or sizes[0] == sizes[1],
        f"{first.path} and {second.path}: k",
        sizes,
        "must be the same numbers",
        "give --k to both `codepmp evaluate pass-at-k`",
    )
    if first.report["items_id"] == second.report["items_id"]:
        return
    column = _ID[first.report["kind"]]
    ours, theirs = (set(evaluation.values[column]) for evaluation in (first, second))
    difference = (
        f"{len(ours - theirs)} only in the first, {len(theirs - ours)} only in the second, "
        f"{len(ours & theirs)} in both"
        if ours != theirs
        else "the same ones, with other candidates or judgements"
    )
    raise UserError(
        f"{first.path} and {second.path}: are of the benchmark {first.report['benchmark']!r}, but not of "
        f"the same {'pairs' if column == 'pair_id' else 'problems'} ({difference}). Remedy: score the same "
        "file with both models, or make a report of each."
    )


@dataclasses.dataclass(frozen=True)
class _Values:
    """What is compared of an evaluation's items at one N, by rising id."""

    ids: np.ndarray
    subsets: np.ndarray
    columns: dict[str, np.ndarray]


def _values_of(evaluation: Evaluation, n: int | None) -> _Values:
    kind, table = evaluation.report["kind"], evaluation.values
    cells = {name: np.array(column) for name, column in table.items()}
    held = np.ones(len(cells[_ID[kind]]), bool) if n is None else cells["n"] == str(n)
    order = np.flatnonzero(held)[np.argsort(cells[_ID[kind]][held])]
    return _Values(
        ids=cells[_ID[kind]][order],
        subsets=cells["subset"][order],
        # Votes that do not apply have empty cells.
        columns={
            figure: cells[name][order].astype(np.float64)
            for name, figure in _COMPARED[kind].items()
            if cells[name][0] != ""
        },
    )


DIFFERENCE = (
    "kind",
    "benchmark",
    "subset",
    "n",
    "figure",
    "model",
    "first_model",
    "difference",
    "low",
    "high",
    "p_value",
)


def find_differences(group: Group, resampling: ResamplingConfig) -> Iterator[dict[str, Any]]:
    """How far each model lies above the first one, over all items and in each subset: DIFFERENCE a row.

    Items are paired (`codepmp_jax.evaluation.statistics.resampling.paired_differences`). `n` is None for accuracy.
    """
    (first_name, first), *others = group.models.items()
    for name, evaluation in others:
        for n in [row["n"] for row in first.report.get("rows", [])] or [None]:
            ours, theirs = _values_of(first, n), _values_of(evaluation, n)
            assert np.array_equal(ours.ids, theirs.ids), (first.path, evaluation.path, n)
            first_values, values = (
                np.stack(list(side.columns.values()), 1) for side in (ours, theirs)
            )
            for subset, held in _subset_masks(ours.subsets):
                differences = paired_differences(
                    first_values[held],
                    values[held],
                    num_resamples=resampling.num_resamples,
                    seed=resampling.seed,
                )
                for figure, difference in zip(ours.columns, differences, strict=True):
                    row = (group.kind, group.benchmark, subset, n, figure, name, first_name)
                    numbers = (difference.mean, *difference.interval, difference.p_value)
                    yield dict(zip(DIFFERENCE, (*row, *numbers), strict=True))


def _subset_masks(subsets: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", np.ones(len(subsets), bool)
    if len(names := np.unique(subsets)) > 1:
        yield from ((str(name) or "unnamed", subsets == name) for name in names)


def make_report(groups: Sequence[Group], resampling: ResamplingConfig) -> dict[str, Any]:
    """The reports of each group by model, and the differences, as JSON values."""
    return {
        "groups": [
            {
                "kind": group.kind,
                "benchmark": group.benchmark,
                "models": group.reports,
                "folders": {name: evaluation.path for name, evaluation in group.models.items()},
                "differences": list(find_differences(group, resampling)),
            }
            for group in groups
        ]
    }


# --- output ---------------------------------------------------------------------------------------


def difference_table(differences: Sequence[dict[str, Any]]) -> str:
    """The differences over all items, at the greatest N of each benchmark, as a table."""
    # Rows rise with N.
    greatest = {(row["kind"], row["benchmark"]): row["n"] for row in differences}
    return format_table(
        ("model - first model", "on", "figure", "N", "difference", "95 % interval", "p"),
        [
            (
                f"{row['model']} - {row['first_model']}",
                row["benchmark"],
                row["figure"].replace("_", " "),
                "" if row["n"] is None else str(row["n"]),
                points(row["difference"]),
                points_interval(row["low"], row["high"]),
                f"{row['p_value']:.3f}",
            )
            for row in differences
            if row["subset"] == "all" and row["n"] == greatest[row["kind"], row["benchmark"]]
        ],
    )


def _tables(report: dict[str, Any]) -> dict[str, folders.Table]:
    """File name -> table of all groups."""
    models = [
        (group["kind"], (group["benchmark"], name), part)
        for group in report["groups"]
        for name, part in group["models"].items()
    ]

    def rows(kind: str, rows_of: Callable[[dict[str, Any]], Iterator[tuple[Any, ...]]]) -> Any:
        return [
            (*key, *row) for found, key, part in models if found == kind for row in rows_of(part)
        ]

    differences = [row for group in report["groups"] for row in group["differences"]]
    tables: dict[str, folders.Table] = {
        "accuracy.csv": (
            ("benchmark", "model", "grouping", "group", *accuracy.FIGURES),
            rows("accuracy", accuracy.figure_rows),
        ),
        "reliability.csv": (
            ("benchmark", "model", *accuracy.RELIABILITY),
            rows("accuracy", accuracy.reliability_rows),
        ),
        "pass_at_k.csv": (
            ("benchmark", "policy", "k", "pass", "low", "high"),
            rows("pass_at_k", _pass_at_k_rows),
        ),
        "best_of_n.csv": (
            ("benchmark", "model", "subset", "num_problems", "n", *best_of_n.FIGURES),
            rows("best_of_n", best_of_n.figure_rows),
        ),
        "differences.csv": (DIFFERENCE, [tuple(row.values()) for row in differences]),
    }
    return {name: (header, rows) for name, (header, rows) in tables.items() if rows}


def _pass_at_k_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for row in report["rows"]:
        yield row["n"], row["pass_at_k"], *row["pass_at_k_interval"]


def _figure_name(group: Group) -> str:
    return f"{group.kind}_{urllib.parse.quote(group.benchmark, safe='')}.png"


def run(config: ReportConfig) -> None:
    """Writes report.json, tables, a plot a group and report.html; prints the differences."""
    require(
        len(config.inputs) > 0,
        "inputs",
        [],
        "must be at least one folder",
        "give folders that `codepmp evaluate accuracy`, `best-of-n` or `pass-at-k` wrote",
    )
    evaluations = [one for path in config.inputs for one in by_model(read_folder(path))]
    groups = group_evaluations(evaluations, config.names)
    report: dict[str, Any] = {
        **make_report(groups, config.resampling),
        "config": presets.to_json(config),
    }
    figures = {
        _figure_name(group): plots.make_figure(list(panels_of(group.kind, group.reports).values()))
        for group in groups
    }
    folders.write_folder(config.output, report, _tables(report), figures, make_page(report))
    differences = [row for group in report["groups"] for row in group["differences"]]
    if differences:
        print(difference_table(differences))
    for group in groups:
        print(f"{group.kind} on {group.benchmark}: {', '.join(group.models)}")
    print(f"report {pathlib.Path(config.output) / folders.PAGE}")
