"""The whole path at a small size."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import Config


@dataclasses.dataclass(frozen=True)
class QuickstartConfig(Config):
    """From source code to a scored preference model: every stage once, at a small size."""

    input: str | None = None
    """Folder of source files; by default the standard library of the running interpreter."""
    output: str = "runs/quickstart"
    """Folder to write everything to. Results of an earlier run in it are removed first."""
    num_steps: int | None = None
    """Number of training steps; by default as in configs/pmp_tiny.py."""
    seed: int = 0
    """Seed of every stage."""
