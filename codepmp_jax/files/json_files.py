"""JSON files that are either the old one or the whole new one."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from codepmp_jax.files import storage
from codepmp_jax.files.json_lines import json_line


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    storage.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_lines(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Writes JSON Lines, atomically."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.writelines(json_line(row) + "\n" for row in rows)
    partial.replace(path)
