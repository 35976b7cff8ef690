"""What all configs share."""

from __future__ import annotations

from typing import Any, ClassVar

from codepmp_jax.cli.errors import require


class Config:
    """Base of all configs."""

    # How pydantic reads JSON: an unknown entry is an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


def require_positive(prefix: str, config: Any, *names: str) -> None:
    """Raises UserError for the first of the fields `names` that is not above 0."""
    for name in names:
        value = getattr(config, name)
        require(value > 0, f"{prefix}{name}", value, "must be positive", "give a number above 0")


def require_fraction(prefix: str, config: Any, *names: str) -> None:
    """Raises UserError for the first of the fields `names` that is outside [0, 1]."""
    for name in names:
        value = getattr(config, name)
        require(0 <= value <= 1, f"{prefix}{name}", value, "must lie in [0, 1]", "give a fraction")
