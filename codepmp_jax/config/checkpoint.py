"""Checkpoints."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config):
    """When Orbax saves, and what it keeps."""

    every_steps: int = 500
    """Steps between checkpoints; the last step always has one."""
    keep: int = 3
    """Newest checkpoints kept."""

    def __post_init__(self) -> None:
        require_positive("checkpoint.", self, "every_steps", "keep")
