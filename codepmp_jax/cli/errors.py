"""The one error for what a user gave: everything else that raises is a bug of ours."""

from __future__ import annotations

import errno
import os
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


# Errors of a path or a disk; those of networks and processes are none.
_DISK_ERRORS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
    errno.EBUSY,
    errno.ENOLCK,
    errno.ENXIO,
    errno.ENODEV,
}


def disk_error(error: OSError, output: str | os.PathLike[str] = "") -> StoreError | None:
    """The one line for an error of a path or a disk; None for any other, e.g. of a network.

    It names `output`, which a command writes, and the error's own file; that of a full disk has none.
    """
    if error.errno not in _DISK_ERRORS:
        return None
    path, name = os.fspath(output), ""
    if isinstance(error.filename, str | bytes):
        name = os.fsdecode(error.filename)
    is_of_output = path and (
        not name or path.startswith(name) or name.startswith(os.path.dirname(path))
    )
    what = (
        f"{path}: cannot be written"
        if is_of_output
        else f"{name or 'a file'}: cannot be read or written"
    )
    shown = (
        f"{error.strerror}: {name}" if is_of_output and name not in ("", path) else error.strerror
    )
    return StoreError(
        f"{what} ({shown}). Remedy: check that the place is there and not full, and that it may be written."
    )
