"""The slice's network: which transfers have a whole ring of links, and how those under way share what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from codepmp_jax.devices.chips import Chip

_TINY = 1e-12


def ring_share(
    chip: Chip, coordinates: Sequence[Sequence[int]], group: Sequence[int], num_axes: int
) -> float:
    """Share of an axis' full rate at which each axis that a collective uses can go.

    `coordinates` are those of the mesh's devices in the slice, in the mesh's order; `group` are places in it. Full is
    what a device receives from both sides. Devices along a line of the slice that does not close to a ring have an
    end, where all comes from one side; so have those of a part of a ring, whose way back is not theirs. One ring may
    turn corners, through devices along several lines.
    """
    if not coordinates or len(group) < 2:
        return 1.0
    lengths = [max(column) + 1 for column in zip(*coordinates, strict=True)]
    spanned = [
        (len(set(column)), length)
        for column, length in zip(
            zip(*(coordinates[place] for place in group), strict=True), lengths, strict=True
        )
        if len(set(column)) > 1
    ]
    if len(spanned) != 1 and num_axes == 1:
        return 1.0
    rings = all(number == length and _closes(chip, lengths, length) for number, length in spanned)
    return 1.0 if rings else 0.5


def _closes(chip: Chip, lengths: Sequence[int], length: int) -> bool:
    """Whether the slice's lines of so many devices are rings."""
    if chip.ring_length is None:
        return False
    whole = [n for n in lengths if n > 1]
    # Three-dimensional networks are wired in cubes, of which a slice has whole ones or none.
    if len(lengths) == 3 and len(whole) == 3:
        return all(n % chip.ring_length == 0 for n in whole)
    return length % chip.ring_length == 0


def coordinates(devices: Iterable[Any]) -> list[tuple[int, ...]]:
    """Of the devices of a mesh in its order; empty where devices of several slices are in it."""
    devices = list(devices)
    if len({getattr(device, "slice_index", 0) for device in devices}) > 1:
        return []
    return [tuple(device.coords) for device in devices]


class Link:
    """A network whose full rate is shared evenly by all transfers under way."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        """Of each transfer that has not ended, the seconds that it would take alone."""

    def begin(self, key: str, seconds: float) -> None:
        """A transfer that takes so long alone."""
        self.left[key] = seconds

    def rename(self, key: str, new: str) -> None:
        """Another name for a transfer."""
        if key in self.left:
            self.left[new] = self.left.pop(key)

    def advance(self, seconds: float) -> float:
        """Lets time pass; how much of it the network had nothing to do."""
        while self.left:
            shortest = min(self.left.values())
            step = shortest * len(self.left)
            if step > seconds:
                shortest, step = seconds / len(self.left), seconds
            self.left = {
                key: left - shortest
                for key, left in self.left.items()
                if left - shortest > _TINY * max(1.0, left)
            }
            seconds -= step
            if seconds <= 0:
                return 0.0
        return seconds

    def until(self, key: str) -> float:
        """Seconds until a transfer has ended, if no other one begins."""
        if key not in self.left:
            return 0.0
        mine = self.left[key]
        return sum(min(left, mine) for left in self.left.values())
