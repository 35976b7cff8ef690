"""Tables, as plain text and as CSV files."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a header: the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def percent(share: float | None) -> str:
    """A share as `12.3%`; `-` where there is none."""
    return "-" if share is None else f"{share:.1%}"


def percent_interval(interval: Sequence[float] | None) -> str:
    """An interval of shares as `12.3% - 14.5%`; `-` where there is none."""
    return "-" if interval is None else "{:.1%} - {:.1%}".format(*interval)


def points(difference: float) -> str:
    """A difference of shares in percentage points, as `+1.2`."""
    return f"{100 * difference:+.1f}"


def points_interval(low: float, high: float) -> str:
    """An interval of a difference in percentage points, as `+1.2 to +3.4`."""
    return f"{points(low)} to {points(high)}"


def write_csv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Writes a table with its header, atomically; None becomes an empty cell, floats keep every digit."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        storage.replaced(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Column -> cells of a table with a header. Raises UserError where rows are not as long as it."""
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UserError(
                f"{path}: row {number} has {len(row)} cells, the header {len(header)}. "
                "Remedy: write the file again."
            )
    return {name: [row[column] for row in rows] for column, name in enumerate(header)}
