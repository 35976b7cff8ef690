"""What a run's workdir says of the run before it is opened: so that a restart asks no one else."""

from __future__ import annotations

from typing import Any

from codepmp_jax.checkpoint import saved_settings
from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.devices.together import together


def newest_config(workdir: str) -> dict[str, Any] | None:
    """The config of the newest checkpoint that has a sound one, as JSON values; None where there is none.

    All hosts must call it. It is None too where they see different checkpoints. Raises StoreError where the workdir
    cannot be read.
    """
    # Also where this host sees none: the others wait for it.
    steps, *others = together(lambda: saved_settings.steps(workdir))
    if not steps or any(theirs != steps for theirs in others):
        return None
    checkpointer = Checkpointer(workdir)
    try:
        for step in reversed(steps):
            try:
                return checkpointer.restore_config(step)
            except StoreError:
                raise
            except UserError:  # damaged, which is reported when the run resumes
                continue
        return None
    finally:
        checkpointer.close()
