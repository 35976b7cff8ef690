"""TPU slices by the names that Google Cloud gives them: their shape, and what a GKE node of theirs is called.

Sources: GKE's pages on TPUs, and the table of AI-Hypercomputer/xpk (src/xpk/core/system_characteristics.py).
"""

from __future__ import annotations

import dataclasses
import math
import re

from codepmp_jax.cli.errors import UserError, require

# Chips along each axis of the common slices: a plane of v5e and v6e, a cube of the others.
_PLANES = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")


@dataclasses.dataclass(frozen=True)
class _Generation:
    """The slices of one kind of chip."""

    type_name: str
    """What the names of its accelerator types begin with."""
    gke_accelerator: str
    """The label of its GKE nodes."""
    shapes: tuple[str, ...]
    cores_per_chip: int
    """The number in an accelerator type counts cores."""


# By the chip's name in devices/chips.py.
_GENERATIONS = {
    "v4": _Generation("v4", "tpu-v4-podslice", _CUBES, 2),
    "v5e": _Generation("v5litepod", "tpu-v5-lite-podslice", _PLANES, 1),
    "v5p": _Generation("v5p", "tpu-v5p-slice", _CUBES, 2),
    "v6e": _Generation("v6e", "tpu-v6e-slice", _PLANES, 1),
    "tpu7x": _Generation("tpu7x", "tpu7x", _CUBES, 2),
}
# The common slices as chip and shape.
NAMES = tuple(
    f"{chip}:{shape}" for chip, generation in _GENERATIONS.items() for shape in generation.shapes
)


@dataclasses.dataclass(frozen=True)
class Slice:
    """One TPU slice."""

    gke_accelerator: str
    """Value of the node label cloud.google.com/gke-tpu-accelerator."""
    shape: str
    """Chips along each axis, which is the value of cloud.google.com/gke-tpu-topology."""

    @property
    def num_chips(self) -> int:
        """Chips of the slice."""
        return math.prod(map(int, self.shape.split("x")))


def slice_of(name: str) -> Slice:
    """The slice of an accelerator type (`v5litepod-256`), or of a chip and a shape (`v5e:16x16`).

    Of a type's number of chips it is the slice of the common shape. Raises UserError for a name of neither form, an
    unknown chip, or a number that no common shape has.
    """
    matched = re.fullmatch(r"(\w+)(-(\d+)|:(\d+(x\d+)+))", name)
    by_type = {generation.type_name: generation for generation in _GENERATIONS.values()}
    generation = matched and (_GENERATIONS | by_type).get(matched[1])
    if not matched or not generation:
        raise UserError(
            f"tpu_type = {name!r}: no such slice. Remedy: give one like "
            f"{', '.join(f'{name}-64' for name in by_type)}, or a chip and a shape like v5e:8x8."
        )
    if shape := matched[4]:
        dimensions = generation.shapes[0].count("x") + 1
        require(
            shape.count("x") + 1 == dimensions and "0" not in shape.split("x"),
            "tpu_type",
            name,
            f"shapes of {matched[1]} have {dimensions} numbers above 0",
            f"give one like {matched[1]}:{generation.shapes[4]}",
        )
        return Slice(generation.gke_accelerator, shape)
    shapes = {
        Slice(generation.gke_accelerator, shape).num_chips * generation.cores_per_chip: shape
        for shape in generation.shapes
    }
    number = int(matched[3])
    require(
        number in shapes,
        "tpu_type",
        name,
        f"no common slice has that number; {matched[1]} has {', '.join(map(str, shapes))}",
        f"give the shape, like {matched[1]}:{generation.shapes[4]}",
    )
    return Slice(generation.gke_accelerator, shapes[number])
