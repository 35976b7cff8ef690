"""Compiling the training step for a TPU slice that is not there."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config.base import PositiveInt
from codepmp_jax.config.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class CompileCheckConfig(TrainConfig):
    """A training run, and the slice to compile its step for."""

    topology: str = "v5e:16x16"
    """TPU slice: the chip, and the number of chips along each axis."""
    num_slices: PositiveInt = 1
    """Number of slices of that shape; mesh.data spans them."""
    json: str | None = None
    """File to write the report to; by default none. A search appends a line for each attempt, and resumes
    from the lines that an interrupted search left."""
    search: bool = False
    """Try remat policies, meshes, accumulation steps and XLA options, and propose the fastest combination that fits
    in memory. The compiler's first passes, a fraction of a compilation, rule out what is hopeless; whole compilations
    decide."""
    search_compilations: PositiveInt = 8
    """Number of fitting steps, compiled whole, after which the search ends; four times as many go through the
    compiler's first passes."""
    reports: tuple[str, ...] = ()
    """Reports (written by --json) to draw with --plot, instead of compiling."""
    plot: str | None = None
    """PNG file to write a roofline plot of the report, or of `reports`, to; by default none."""
