"""What a run's workdir says of the run before it is opened: so that a restart asks no one else."""

from __future__ import annotations

from typing import Any

from codepmp_jax.checkpoint.checkpointer import Checkpointer, gather
from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.files import storage


def newest_config(workdir: str) -> dict[str, Any] | None:
    """The config of the newest checkpoint that has a sound one, as JSON values; None where there is none.

    All hosts must call it. It is None too where they see different checkpoints. Raises StoreError where the workdir
    cannot be read.
    """
    folder = storage.to_path(workdir) / "checkpoints"
    with storage.storage_errors(folder, "read"):
        steps = [int(path.name) for path in _children(folder) if path.name.isdecimal()]
    if not steps or any(theirs != sorted(steps) for theirs in gather(sorted(steps))):
        return None
    checkpointer = Checkpointer(workdir)
    try:
        for step in sorted(steps, reverse=True):
            try:
                return checkpointer.restore_config(step)
            except StoreError:
                raise
            except UserError:  # damaged, which is reported when the run resumes
                continue
        return None
    finally:
        checkpointer.close()


def _children(folder: Any) -> list[Any]:
    return list(folder.iterdir()) if folder.is_dir() else []
