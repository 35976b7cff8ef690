"""The layout of the devices."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, Remedy, Rule

AxisSize = Annotated[
    int,
    Rule(lambda size: size == -1 or size >= 1, "must be positive, or -1 for the rest"),
    Remedy("give a number of devices"),
]


@dataclasses.dataclass(frozen=True)
class MeshConfig(Config, section="mesh"):
    """Number of devices along each mesh axis. One axis may be -1: it takes the devices that the others leave."""

    data: AxisSize = 1
    """Number of copies of the model; the axis that spans slices."""
    fsdp: AxisSize = -1
    """Number of devices that one copy of the parameters is sharded over."""
    tensor: AxisSize = 1
    """Number of devices that each matmul is split over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            [self.data, self.fsdp, self.tensor].count(-1) <= 1,
            "mesh",
            (self.data, self.fsdp, self.tensor),
            "only one axis can be -1",
            "give the sizes of the others",
        )
