"""The one error for what a user gave: everything else that raises is a bug of ours."""

from __future__ import annotations

from typing import Any


class UserError(ValueError):
    """Input or a setting breaks a rule. The message names path, value, rule and remedy."""


def require(condition: bool, path: str, value: Any, rule: str, remedy: str) -> None:
    """Raises UserError naming `path`, `value`, `rule` and `remedy` unless `condition` holds."""
    if not condition:
        raise UserError(f"{path} = {value!r}: {rule}. Remedy: {remedy}.")
