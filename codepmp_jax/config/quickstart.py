"""The whole path at a small size."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import Config


@dataclasses.dataclass(frozen=True)
class QuickstartConfig(Config):
    """From source code to a scored preference model, every stage once, at a small size."""

    input: str | None = None
    """Folder of source files; the running interpreter's standard library if not given."""
    output: str = "runs/quickstart"
    """Folder that receives everything. A run starts clean: what an earlier one left here is removed."""
    num_steps: int | None = None
    """Training steps; by default those of configs/pmp_tiny.py."""
    seed: int = 0
    """Seed of every stage."""
