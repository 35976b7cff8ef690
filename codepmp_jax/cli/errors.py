"""The one error for what a user gave: everything else that raises is a bug of ours."""

from __future__ import annotations

from typing import Any

from codepmp_jax.cli.exit_codes import MISTAKE, STORE, WORKER_LOST


class UserError(ValueError):
    """Input or a setting breaks a rule. The message names path, value, rule and remedy."""

    status = MISTAKE
    """Exit status of a process that it ends."""


class StoreError(UserError):
    """A disk or bucket could not be read or written. The message names the path and what the store said."""

    status = STORE


class WorkerLostError(UserError):
    """A worker process was killed, which the same work need not meet again. The message says how far it was."""

    status = WORKER_LOST


def require(condition: bool, path: str, value: Any, rule: str, remedy: str) -> None:
    """Raises UserError naming `path`, `value`, `rule` and `remedy` unless `condition` holds."""
    if not condition:
        raise UserError(f"{path} = {value!r}: {rule}. Remedy: {remedy}.")
