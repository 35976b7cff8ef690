"""Compiling the training step for a TPU slice that is not there."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import require_positive
from codepmp_jax.config.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class CompileCheckConfig(TrainConfig):
    """A training run, and the slice to compile its step for."""

    topology: str = "v5e:16x16"
    """Slice: the chip, and how many chips along each axis."""
    num_slices: int = 1
    """Slices of that shape, between which mesh.data goes."""
    json: str | None = None
    """File to write the report to; a search adds a line for everything that it tries, and goes on where an
    earlier one was stopped."""
    search: bool = False
    """Try remat policies, meshes, parts of a batch and XLA's options, and propose the fastest that fits."""
    search_compilations: int = 24
    """Steps that fit after which the search ends."""
    reports: tuple[str, ...] = ()
    """Reports (--json) to draw with --plot, instead of compiling anything."""
    plot: str | None = None
    """PNG file for a roofline of the report, or of `reports`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("", self, "num_slices", "search_compilations")
