"""The settings in a checkpoint, read without JAX: what a command line starts from."""

from __future__ import annotations

import json
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage

# Where Orbax's JsonCheckpointHandler writes the item `config`.
_FILE = "config/metadata"


def steps(run: str) -> list[int]:
    """The steps of a run's checkpoints, ascending; empty where it has none."""
    folder = storage.to_path(run) / "checkpoints"
    with storage.storage_errors(folder, "read"):
        children = folder.iterdir() if folder.is_dir() else ()
        return sorted(int(path.name) for path in children if path.name.isdecimal())


def read(run: str, step: int) -> dict[str, Any]:
    """The settings that the run had at `step`, as JSON values. Raises UserError where it has no such checkpoint."""
    folder = storage.to_path(run) / "checkpoints" / str(step)
    with storage.storage_errors(folder, "read"):
        text = (folder / _FILE).read_text() if (folder / _FILE).exists() else None
    if text is None:
        there = ", ".join(map(str, steps(run))) or "none"
        raise UserError(
            f"{folder}: there is no such checkpoint; there are: {there}. Remedy: give one of them."
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{folder}: {_FILE} is damaged ({error}). Remedy: copy the checkpoint again from where it is whole."
        ) from error
