"""JSON files that are either the old one or the whole new one."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from codepmp_jax.files import storage
from codepmp_jax.files.json_lines import escaped, json_line

_logger = logging.getLogger("codepmp_jax")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    storage.write_text(path, escaped(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def set_aside(path: str | os.PathLike[str], why: object) -> None:
    """Renames an accounting file that cannot be used to NAME.damaged, or else lets it be; logs that and `why`.

    What only accounts for a run never ends it.
    """
    source = storage.to_path(path)
    target = source.with_name(f"{source.name}.damaged")
    try:
        if target.is_dir():
            target.rmtree()
        storage.move(source, target)
    except Exception as error:  # each store has errors of its own
        _logger.warning("%s: cannot be used (%s), nor be renamed (%s)", source, why, error)
    else:
        _logger.warning("%s: cannot be used (%s); kept as %s, and begun anew", source, why, target)


def read_steps(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a metrics.jsonl, and the lines that are none: no JSON object with a number `step`.

    What follows the last newline is a row that a killed process did not finish, and is left out.
    """
    rows, unreadable = [], []
    text = storage.to_path(path).read_bytes().decode(errors="replace")
    for line in text.split("\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
        else:
            unreadable.append(line)
    return rows, unreadable


def write_lines(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Writes JSON Lines, atomically."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.replaced(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.writelines(json_line(row) + "\n" for row in rows)
