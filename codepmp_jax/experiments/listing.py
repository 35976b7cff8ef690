"""What there is to do in a grid, and what it costs: the lines of a dry run."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from codepmp_jax.config import ExperimentConfig
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.experiments.costs import Rates, Work, work_of
from codepmp_jax.experiments.grid import Plan, Step
from codepmp_jax.experiments.runner import show_seconds
from codepmp_jax.experiments.states import States

_SHARED = "shared: "


def describe(grid: Plan, states: States) -> str:
    """One line: how many cells and commands are done, begun, changed and new."""
    done = states.done(grid.steps)
    cells = collections.Counter(
        _state(grid.of_cell(cell.name), done, states) for cell in grid.cells
    )
    shown = ", ".join(
        f"{cells[name]} {name}" for name in ("done", "begun", "changed", "new") if cells[name]
    )
    return f"{len(grid.cells)} cells: {shown}; {len(done)} of {len(grid.steps)} commands are done"


def _state(steps: Sequence[Step], done: set[str], states: States) -> str:
    """`done`, `changed` (something of other settings or inputs is there), `begun` or `new`."""
    left = [step for step in steps if step.place not in done]
    if not left:
        return "done"
    if any(states.is_changed(step) for step in left):
        return "changed"
    own = [step for step in steps if len(step.cells) == 1]
    return "begun" if any(states.read(step) for step in own) else "new"


def list_commands(config: ExperimentConfig, grid: Plan, states: States) -> str:
    """A line a cell, and before them a line a shared command; what is left to do; the commands of the first cell."""
    done, rates = states.done(grid.steps), Rates(grid, states)
    groups: dict[str, list[Step]] = {
        f"{_SHARED}{step.place}": [step] for step in grid.steps if len(step.cells) > 1
    }
    groups |= {
        cell.name: [step for step in grid.of_cell(cell.name) if len(step.cells) == 1]
        for cell in grid.cells
    }
    rows, all_left = [], []
    for name, steps in groups.items():
        work = [found for step in steps if (found := work_of(step, grid)) is not None]
        seconds = rates.seconds({step.place for step in steps})
        state = _state(steps, done, states)
        if state != "done":
            all_left += work
        rows.append((name, state, *_show_work(work), _show(seconds, show_seconds)))
    header = ("cell", "state", "steps", "pairs", "tokens", "FLOPs", "time")
    left = rates.seconds({step.place for step in grid.steps} - done)
    at_once = config.parallel if config.engine == "local" else 1
    total = (
        "left to do",
        "",
        *_show_work(all_left),
        _show(left, lambda s: show_seconds(s / at_once)),
    )
    return "\n".join(
        [
            format_table(header, [*rows, total]),
            "",
            "Steps, pairs, tokens and useful FLOPs are of training, from a sample of the pairs (-: not known before an "
            "earlier command has run). Times are by what finished commands took.",
            describe(grid, states),
            "",
            *(f"$ {shlex.join(step.words)}" for step in grid.of_cell(grid.cells[0].name)),
        ]
    )


def _show_work(work: Sequence[Work]) -> tuple[str, str, str, str]:
    """Sums over training commands; `-` where one is not known, or there is none."""

    def total(name: str) -> Any:
        values = [getattr(each, name) for each in work]
        return sum(values) if values and None not in values else None

    return (
        _show(total("steps"), lambda value: f"{value:,.0f}"),
        _show(total("pairs"), lambda value: f"{value:,.0f}"),
        _show(total("tokens"), lambda value: f"{value:.2g}"),
        _show(total("flops"), lambda value: f"{value:.2g}"),
    )


def _show(value: float | None, how: Callable[[float], str]) -> str:
    return "-" if value is None else how(value)
