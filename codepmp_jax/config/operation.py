"""How a run is watched, and what starts it again."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated

from codepmp_jax.config.base import (
    Config,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Remedy,
    Rule,
)


@dataclasses.dataclass(frozen=True)
class WatchdogConfig(Config, section="watchdog"):
    """What ends a run that makes no progress."""

    seconds: Annotated[NonNegativeFloat, Remedy("0 turns the watchdog off")] = 1800.0
    """Seconds without progress after which the run dumps the stacks of all threads and exits with status 70; 0
    for never. Must exceed the time that compiling takes; while shards, weights or a checkpoint are read or written, each
    byte is progress."""
    join_seconds: PositiveInt = 1800
    """Seconds that a host waits at its start for the other hosts, which may still be set up."""
    heartbeat_seconds: PositiveInt = 100
    """Seconds without a heartbeat after which a host counts as lost and the other hosts stop."""


def _is_span(steps: str) -> bool:
    matched = re.fullmatch(r"(\d+):(\d+)", steps)
    return matched is not None and 0 < int(matched[1]) <= int(matched[2])


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Config, section="profile"):
    """Steps whose trace is written to WORKDIR/profile, for XProf and TensorBoard's profile tab."""

    steps: (
        Annotated[
            str,
            Rule(_is_span, "must be FIRST:LAST, where FIRST is at least 1 and at most LAST"),
            Remedy("e.g. 20:24"),
        ]
        | None
    ) = None
    """First and last step to trace, as FIRST:LAST, e.g. 20:24; by default none."""

    @property
    def bounds(self) -> tuple[int, int] | None:
        """First and last step traced; None for none."""
        if self.steps is None:
            return None
        first, last = self.steps.split(":")
        return int(first), int(last)


@dataclasses.dataclass(frozen=True)
class SuperviseConfig(Config):
    """Restarts a training command until it is done."""

    max_crashes: NonNegativeInt = 5
    """Maximum number of consecutive crashes to restart after; one more ends the supervisor. A stop that asks to be
    resumed (e.g. a preemption) resets the count."""
    backoff_seconds: NonNegativeFloat = 10.0
    """Wait before a restart after the first crash, in seconds; doubled with each consecutive crash, up to ten
    minutes."""
    steady_seconds: NonNegativeFloat = 900.0
    """A process that runs at least this many seconds resets the crash count."""
