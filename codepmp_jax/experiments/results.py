"""What the evaluations of a grid's cells say: one value an item, and means over seeds and problems.

A *figure* is what is plotted against the size: the pairwise accuracy of an evaluation, its Best-of-N at one N, or its
pass@k at one k. A
*curve* is a figure of the cells that differ in size and seed only; curves that differ in the value of `compare` alone
are compared, on the problems that all of their evaluations have.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ExperimentConfig
from codepmp_jax.evaluation.reports.folders import read_folder
from codepmp_jax.evaluation.statistics.crossed import Crossed
from codepmp_jax.experiments.grid import Cell, Plan
from codepmp_jax.experiments.states import States

_STAGES = ("evaluate accuracy", "evaluate best-of-n", "evaluate pass-at-k")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One evaluation of a cell, at one N where it is of Best-of-N or pass@k."""

    cell: Cell
    evaluation: str
    """Its folder below the cell's, e.g. `accuracy`."""
    benchmark: str
    figure: str
    """`accuracy`, `best_of_n` or `pass_at_k`."""
    n: int | None
    """N, or k of pass@k; None for accuracy."""
    value: float
    interval: tuple[float, float]
    """Over the problems or pairs of this evaluation."""
    others: dict[str, float | None]
    """Further figures of the evaluation: length baseline, random pick, oracle, majority vote."""
    num_items: int
    sums: dict[str, tuple[float, int]]
    """Problem -> sum over its items, and their number."""


def read_cells(plan: Plan, states: States) -> tuple[list[Evaluated], list[str]]:
    """The evaluations of the cells that are done, in the grid's order; and which cannot be read, as sentences."""
    done = states.done(plan.steps)
    cells = {cell.name: cell for cell in plan.cells}
    found: list[Evaluated] = []
    notes: list[str] = []
    for step in plan.steps:
        if step.place not in done or step.command not in _STAGES or len(step.cells) != 1:
            continue
        cell = cells[step.cells[0]]
        evaluation = step.place.removeprefix(f"cells/{cell.name}/")
        try:
            found += _read(str(step.output), cell, evaluation)
        except (UserError, KeyError, ValueError) as error:
            notes.append(f"{step.place}: is left out, as it cannot be read ({error}).")
    return found, notes


def _read(folder: str, cell: Cell, evaluation: str) -> Iterator[Evaluated]:
    read = read_folder(folder)
    report, table = read.report, read.values
    if report["kind"] == "accuracy":
        problems = table.get("problem_id", table["pair_id"])
        yield Evaluated(
            cell,
            evaluation,
            report["benchmark"],
            "accuracy",
            None,
            report["accuracy"],
            tuple(report["accuracy_interval"]),
            {"length_baseline": report["length_baseline"]},
            report["num_pairs"],
            _sums(problems, table["win"]),
        )
        return
    if report["kind"] == "pass_at_k":
        policies = report["policies"]
        if len(policies) > 1:
            raise ValueError(f"is of {len(policies)} policies, and a cell has one")
        rows, key, name, others = policies[0]["rows"], "k", "pass", ()
    else:
        rows, key, name = report["rows"], "n", "best_of_n"
        others = ("random", "oracle", "majority_vote")
    for row in rows:
        held = [index for index, n in enumerate(table[key]) if n == str(row[key])]
        yield Evaluated(
            cell,
            evaluation,
            report["benchmark"],
            report["kind"],
            row[key],
            row[name],
            tuple(row["interval" if key == "k" else "best_of_n_interval"]),
            {other: row[other] for other in others},
            report["num_problems"],
            _sums(
                [table["problem_id"][index] for index in held],
                [table[name][index] for index in held],
            ),
        )


def _sums(problems: Sequence[str], values: Sequence[str]) -> dict[str, tuple[float, int]]:
    sums: dict[str, tuple[float, int]] = {}
    for problem, value in zip(problems, values, strict=True):
        total, count = sums.get(problem, (0.0, 0))
        sums[problem] = total + float(value), count + 1
    return sums


@dataclasses.dataclass(frozen=True)
class Family:
    """Curves to compare: one figure at fixed values of all axes but size, compare and seed."""

    evaluation: str
    benchmark: str
    figure: str
    n: int | None
    facet: dict[str, str]
    """Axis -> value, of the axes that are fixed."""
    compared: list[str]
    """Values of `compare`; one, empty, without such an axis."""
    sizes: list[str]
    """Values of `size`; one, empty, without such an axis."""
    seeds: list[str]
    crossed: Crossed
    """Columns: compared x sizes, the sizes varying fastest."""
    num_left_out: int
    """Problems that not all evaluations have."""
    baselines: dict[str, float]
    """What does not depend on the model, where all evaluations agree."""
    is_shown: bool
    """Whether it is plotted against the size, and has multipliers: of Best-of-N and pass@k, the greatest N."""

    @property
    def title(self) -> str:
        """E.g. `accuracy, task=reclor`, `best_of_n, best of 16` or `pass_at_k, k=1`."""
        shown = f"k={self.n}" if self.figure == "pass_at_k" else f"best of {self.n}"
        n = [] if self.n is None else [shown]
        return ", ".join([self.evaluation, *n, *(f"{a}={v}" for a, v in self.facet.items())])

    def column(self, compared: int, size: int) -> int:
        """Index of a column of `crossed`."""
        return compared * len(self.sizes) + size


def families(
    config: ExperimentConfig, found: Sequence[Evaluated]
) -> tuple[list[Family], list[str]]:
    """The families of curves, in the order of their first cells; and what cannot be compared, as sentences."""
    axes = config.axis_values
    roles = [getattr(config, role) for role in ("compare", "size", "seed")]
    compared, sizes, seeds = (axes.get(role, [""]) for role in roles)
    if roles[1] in axes:
        sizes = sorted(sizes, key=float)
    groups: dict[Any, list[Evaluated]] = {}
    for each in found:
        facet = {axis: value for axis, value in each.cell.values.items() if axis not in roles}
        key = (each.evaluation, each.figure, each.n, *facet.items())
        groups.setdefault(key, []).append(each)
    made: list[Family] = []
    notes: list[str] = []
    greatest: dict[Any, int | None] = {}
    for evaluation, figure, n, *facet in groups:
        key = (evaluation, figure, *facet)
        greatest[key] = n if n is None else max(n, greatest.get(key) or 0)
    for (evaluation, figure, n, *facet), group in groups.items():
        by_place = {tuple(each.cell.values.get(role, "") for role in roles): each for each in group}
        common = set.intersection(*(set(each.sums) for each in group))
        every = set.union(*(set(each.sums) for each in group))
        if not common:
            title = ", ".join([evaluation, *(f"{axis}={value}" for axis, value in facet)])
            notes.append(
                f"{title}: its evaluations have no problem in common, so they are not compared."
            )
            continue
        problems = sorted(common)
        counts = np.array([group[0].sums[problem][1] for problem in problems], np.float64)
        # Means of a problem times its count in the first, should an evaluation have another count.
        sums = np.full((len(compared) * len(sizes), len(seeds), len(problems)), np.nan)
        for column, place in enumerate(itertools.product(compared, sizes)):
            for number, seed in enumerate(seeds):
                each = by_place.get((*place, seed))
                if each is not None:
                    pairs = np.array([each.sums[problem] for problem in problems])
                    sums[column, number] = pairs[:, 0] / pairs[:, 1] * counts
        made.append(
            Family(
                evaluation,
                group[0].benchmark,
                figure,
                n,
                dict(facet),
                list(compared),
                list(sizes),
                list(seeds),
                Crossed(sums, counts),
                len(every) - len(common),
                _baselines(group),
                n == greatest[evaluation, figure, *facet],
            )
        )
    return made, notes


def _baselines(group: Sequence[Evaluated]) -> dict[str, float]:
    """Those figures that all evaluations share: they are of the items, not of the model."""
    first = group[0].others
    return {
        name: value
        for name, value in first.items()
        if value is not None and all(each.others[name] == value for each in group)
    }
