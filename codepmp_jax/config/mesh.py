"""The layout of the devices."""

from __future__ import annotations

import dataclasses

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config


@dataclasses.dataclass(frozen=True)
class MeshConfig(Config):
    """Devices along each mesh axis; one of them may be -1, which takes what the others leave."""

    data: int = 1
    """Copies of the model (across slices)."""
    fsdp: int = -1
    """Devices that share one copy of the parameters."""
    tensor: int = 1
    """Devices that share each matmul."""

    def __post_init__(self) -> None:
        for name in ("data", "fsdp", "tensor"):
            value = getattr(self, name)
            require(
                value == -1 or value >= 1,
                f"mesh.{name}",
                value,
                "must be positive, or -1 for the rest",
                "give a number of devices",
            )
        require(
            [self.data, self.fsdp, self.tensor].count(-1) <= 1,
            "mesh",
            (self.data, self.fsdp, self.tensor),
            "only one axis can be -1",
            "give the sizes of the others",
        )
