"""How a run is watched, and what starts it again."""

from __future__ import annotations

import dataclasses
import re

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class WatchdogConfig(Config):
    """What ends a run that goes nowhere."""

    seconds: float = 1800.0
    """Seconds without progress after which the run dumps the stacks of all threads and exits with status 70;
    more than compiling, restoring or saving takes. 0 for never."""
    heartbeat_seconds: int = 60
    """Seconds without a sign of life after which a host counts as lost, and the others stop."""

    def __post_init__(self) -> None:
        require(
            self.seconds >= 0, "watchdog.seconds", self.seconds, "must not be negative", "0 is off"
        )
        require_positive("watchdog.", self, "heartbeat_seconds")


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Config):
    """Steps whose trace is written to WORKDIR/profile, for XProf and TensorBoard's profile tab."""

    steps: str | None = None
    """FIRST:LAST, e.g. 20:24; by default none."""

    def __post_init__(self) -> None:
        matched = re.fullmatch(r"(\d+):(\d+)", self.steps or "1:1")
        require(
            matched is not None and 0 < int(matched[1]) <= int(matched[2]),
            "profile.steps",
            self.steps,
            "must be FIRST:LAST, two steps of which the first is above 0 and not after the last",
            "e.g. 20:24",
        )

    @property
    def bounds(self) -> tuple[int, int] | None:
        """First and last step traced; None for none."""
        if self.steps is None:
            return None
        first, last = self.steps.split(":")
        return int(first), int(last)


@dataclasses.dataclass(frozen=True)
class SuperviseConfig(Config):
    """Starts a training command again until it is done."""

    max_crashes: int = 5
    """Crashes in a row after which it gives up. A stop that asks to be resumed is none."""
    backoff_seconds: float = 10.0
    """Wait after a crash, doubled with each in a row up to ten minutes."""
    steady_seconds: float = 900.0
    """A process that lived as long begins a new row of crashes."""

    def __post_init__(self) -> None:
        for name in ("max_crashes", "backoff_seconds", "steady_seconds"):
            value = getattr(self, name)
            require(value >= 0, name, value, "must not be negative", "give 0 or more")


@dataclasses.dataclass(frozen=True)
class QueuedResourceConfig(Config):
    """A TPU slice by gcloud's queued resources, whose hosts train, and which is asked for again when it is taken
    away."""

    name: str = "codepmp"
    """Name of the queued resource and of its slice."""
    project: str | None = None
    """Google Cloud project; gcloud's own by default."""
    zone: str = "us-west4-a"
    """Zone that has the accelerator."""
    accelerator_type: str = "v5litepod-256"
    """Kind and size of the slice."""
    runtime_version: str = "v2-alpha-tpuv5-lite"
    """Image of the hosts that belongs to the accelerator."""
    spot: bool = False
    """Take spot capacity, which costs less and may be taken away at any time."""
    repository: str = "/opt/codepmp_jax"
    """Checkout of this repository on the hosts, installed in its .venv."""
    setup: str | None = None
    """Local shell script that makes that checkout; runs first on each host, as root."""
    service_account: str | None = None
    """Account that the hosts read and write buckets as; the project's default by default."""
    poll_seconds: float = 60.0
    """Seconds between two looks at the queued resource's state."""
    dry_run: bool = False
    """Print what would run, and run nothing."""

    def __post_init__(self) -> None:
        require_positive("", self, "poll_seconds")


@dataclasses.dataclass(frozen=True)
class XpkConfig(Config):
    """A training workload on a GKE cluster, submitted by xpk."""

    name: str = "codepmp"
    """Name of the workload."""
    cluster: str = "tpus"
    """GKE cluster that `xpk cluster create` made."""
    project: str | None = None
    """Google Cloud project; gcloud's own by default."""
    zone: str = "us-west4-a"
    """Zone of the cluster."""
    tpu_type: str = "v5litepod-256"
    """Kind and size of a slice."""
    num_slices: int = 1
    """Slices, over which mesh.data must be divisible."""
    image: str = "codepmp_jax"
    """Docker image with this repository as its working directory, and its requirements."""
    max_restarts: int = 100
    """How often GKE starts the hosts again."""
    grace_seconds: int = 300
    """Seconds that a host has after SIGTERM to save."""
    dry_run: bool = False
    """Print what would run, and run nothing."""

    def __post_init__(self) -> None:
        require_positive("", self, "num_slices", "grace_seconds")
        require(
            self.max_restarts >= 0,
            "max_restarts",
            self.max_restarts,
            "must not be negative",
            "0 is never",
        )
