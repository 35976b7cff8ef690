"""The one error for what a user gave: everything else that raises is a bug of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
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


def require_name(path: str, value: str, names: Iterable[str]) -> None:
    """Raises UserError naming the nearest of `names` unless `value` is one of them."""
    names = tuple(names)
    nearest = difflib.get_close_matches(value, names, n=1)
    require(
        value in names,
        path,
        value,
        f"must be one of {', '.join(names)}",
        f"give {nearest[0]}, the nearest of these names" if nearest else "give one of these names",
    )
