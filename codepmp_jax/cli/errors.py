"""The one error for what a user gave: everything else that raises is a bug of ours."""

from __future__ import annotations

import errno
import os
from typing import Any

from codepmp_jax.cli.exit_codes import MISTAKE, STORE


class UserError(ValueError):
    """Input or a setting breaks a rule. The message names path, value, rule and remedy."""

    status = MISTAKE
    """Exit status of a process that it ends."""


class StoreError(UserError):
    """A disk or bucket could not be read or written. The message names the path and what the store said."""

    status = STORE


def require(condition: bool, path: str, value: Any, rule: str, remedy: str) -> None:
    """Raises UserError naming `path`, `value`, `rule` and `remedy` unless `condition` holds."""
    if not condition:
        raise UserError(f"{path} = {value!r}: {rule}. Remedy: {remedy}.")


# Errors of a path that no second start mends, and those of a disk.
_PATH_ERRORS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
_DISK_ERRORS = {
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


def disk_error(error: OSError, path: str | os.PathLike[str] = "") -> UserError | None:
    """The one line for an error of a path or a disk; None for any other, e.g. of a network.

    It names the error's own file, or `path` where the error names none, as that of a full disk does.
    """
    name = (
        os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else os.fspath(path)
    )
    said = f"{name or 'output'}: cannot be read or written ({error.strerror})"
    if error.errno in _PATH_ERRORS:
        return UserError(f"{said}. Remedy: give another path.")
    if error.errno in _DISK_ERRORS:
        return StoreError(
            f"{said}. Remedy: check that the place is there and not full, and that it may be written."
        )
    return None
