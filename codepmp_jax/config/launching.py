"""What starts training on slices of a cloud."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated

from codepmp_jax.config.base import (
    Config,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Remedy,
    Rule,
)

_NAME = r"[a-z]([-a-z0-9]{0,26}[a-z0-9])?"
# Kubernetes and Kueue add to the name, and the whole must have at most 63 characters.
WorkloadName = Annotated[
    str,
    Rule(
        lambda name: re.fullmatch(_NAME, name) is not None,
        "must have at most 28 lower-case letters, digits and hyphens, the first a letter, the last no hyphen",
    ),
    Remedy("e.g. pmp-7b"),
]
Environment = Annotated[
    tuple[str, ...],
    Rule(
        lambda entries: all(re.match(r"[A-Za-z_][A-Za-z0-9_]*=", entry) for entry in entries),
        "must be variables as NAME=VALUE",
    ),
    Remedy("e.g. LIBTPU_INIT_ARGS=--xla_tpu_scoped_vmem_limit_kib=65536"),
]
Labels = Annotated[
    tuple[str, ...],
    Rule(
        lambda entries: all(re.fullmatch(r"[^=\s]+=[^=\s]*", entry) for entry in entries),
        "must be labels as NAME=VALUE",
    ),
    Remedy("e.g. cloud.google.com/gke-spot=true"),
]
MaxRestarts = Annotated[NonNegativeInt, Remedy("0 never restarts")]


@dataclasses.dataclass(frozen=True)
class QueuedResourceConfig(Config):
    """TPU slices that gcloud's queued resources provide, whose hosts train. They are requested again whenever they
    are taken away."""

    name: str = "codepmp"
    """Name of the queued resource and of its slice; with several slices, of what their names begin with."""
    project: str | None = None
    """Google Cloud project; by default gcloud's current one."""
    zone: str = "us-west4-a"
    """Zone that has the accelerator."""
    accelerator_type: str = "v5litepod-256"
    """Type and size of a slice."""
    num_slices: PositiveInt = 1
    """Number of slices, provided together; must divide mesh.data."""
    runtime_version: str = "v2-alpha-tpuv5-lite"
    """TPU software version of the hosts; must match the accelerator."""
    spot: bool = False
    """Use spot capacity, which costs less and may be preempted at any time."""
    repository: str = "/opt/codepmp_jax"
    """Folder on the hosts whose .venv has this package installed."""
    setup: str | None = None
    """Local shell script that creates that folder, e.g. launch/setup_host.sh, run by bash -e on each host first, as
    root; by default none."""
    env: Environment = ()
    """Environment variables of the setup and of the training, as NAME=VALUE."""
    service_account: str | None = None
    """Service account with which the hosts read and write buckets; by default the project's."""
    grace_seconds: PositiveInt = 300
    """Seconds that a host has after SIGTERM to save; a spot VM has 30 whatever this says."""
    keep_after_mistake: bool = False
    """Keep the slice, which is billed, when training ended with status 2; by default it is given back after every
    end, when its log is in WORKDIR/launch."""
    poll_seconds: PositiveFloat = 60.0
    """Seconds between checks of the queued resource's state."""
    dry_run: bool = False
    """Print the commands instead of running them."""


@dataclasses.dataclass(frozen=True)
class GclusterConfig(Config):
    """A training workload on a GKE cluster, submitted by Cluster Toolkit's gcluster."""

    name: WorkloadName = "codepmp"
    """Name of the workload."""
    cluster: str | None = None
    """GKE cluster; by default the one of `gcluster job config`."""
    project: str | None = None
    """Google Cloud project; by default the one of `gcluster job config`."""
    location: str | None = None
    """Zone or region of the cluster; by default the one of `gcluster job config`."""
    image: str = ""
    """Container image with this package installed, with its registry, e.g. made by the Dockerfile."""
    compute_type: str = "v5litepod-256"
    """Type and size of a slice."""
    topology: str | None = None
    """Chips along each axis of a slice, e.g. 16x16; by default what gcluster derives from the compute type."""
    num_slices: PositiveInt = 1
    """Number of slices; must divide mesh.data."""
    queue: str | None = None
    """Kueue's LocalQueue; by default the one that gcluster finds on the cluster."""
    priority: str | None = None
    """Priority in the queue: very-low, low, medium, high or very-high; by default gcluster's, medium."""
    service_account: str | None = None
    """Kubernetes service account with which the hosts read and write buckets; by default the namespace's."""
    env: Environment = ()
    """Environment variables of the training, as NAME=VALUE."""
    max_restarts: MaxRestarts = 100
    """Maximum number of times that GKE restarts the hosts."""
    grace_seconds: PositiveInt = 300
    """Seconds that a host has after SIGTERM to save; on spot nodes GKE gives 15 whatever this says."""
    dry_run_out: str | None = None
    """File that gcluster writes the Kubernetes manifest to instead of applying it."""
    dry_run: bool = False
    """Print the command instead of running it."""


@dataclasses.dataclass(frozen=True)
class JobsetConfig(Config):
    """The Kubernetes manifest of a training run on TPU slices of a GKE cluster: a JobSet in a queue of Kueue."""

    output: str | None = None
    """File that the manifest is written to; by default it is printed."""
    name: WorkloadName = "codepmp"
    """Name of the JobSet."""
    namespace: str = "default"
    """Kubernetes namespace, which has the queue and the service account."""
    queue: str | None = "multislice-queue"
    """Kueue's LocalQueue; none for a cluster without Kueue."""
    priority: str | None = None
    """Kueue's WorkloadPriorityClass; by default none."""
    image: str = ""
    """Container image with this package installed, with its registry, e.g. made by the Dockerfile."""
    tpu_type: str = "v5litepod-256"
    """Type and size of a slice as Google Cloud names them (v5litepod-256, v6e-64, v5p-128), or chip and shape as
    `compile-check --topology` takes them (v5e:16x16, v6e:8x8, v5p:4x4x4)."""
    chips_per_host: PositiveInt = 4
    """Chips of a node's machine type: 8 for ct5lp-hightpu-8t and ct6e-standard-8t, 4 for the others of several chips."""
    num_slices: PositiveInt = 1
    """Number of slices, each a node pool of its own; must divide mesh.data."""
    node_selectors: Labels = ()
    """Labels that the nodes must have besides the chip's and the shape's, e.g. cloud.google.com/gke-spot=true."""
    service_account: str | None = None
    """Kubernetes service account with which the hosts read and write buckets; by default the namespace's."""
    env: Environment = ()
    """Environment variables of the training, as NAME=VALUE."""
    host_network: bool = True
    """Use the nodes' network, which is faster between slices; Autopilot clusters refuse it."""
    max_restarts: MaxRestarts = 100
    """Maximum number of times that the hosts are restarted, preemptions included."""
    grace_seconds: PositiveInt = 300
    """Seconds that a host has after SIGTERM to save; on spot nodes GKE gives 15 whatever this says."""


@dataclasses.dataclass(frozen=True)
class XpkConfig(Config):
    """A training workload on a GKE cluster, submitted by xpk. Legacy: Cluster Toolkit succeeds xpk."""

    name: str = "codepmp"
    """Name of the workload."""
    cluster: str = "tpus"
    """GKE cluster, created by `xpk cluster create`."""
    project: str | None = None
    """Google Cloud project; by default gcloud's current one."""
    zone: str = "us-west4-a"
    """Zone of the cluster."""
    tpu_type: str = "v5litepod-256"
    """Type and size of a slice."""
    num_slices: PositiveInt = 1
    """Number of slices; must divide mesh.data."""
    image: str = "codepmp_jax"
    """Docker image with this package installed, so that `codepmp` is on its PATH."""
    max_restarts: MaxRestarts = 100
    """Maximum number of times that GKE restarts the hosts."""
    grace_seconds: PositiveInt = 300
    """Seconds that a host has after SIGTERM to save."""
    dry_run: bool = False
    """Print the commands instead of running them."""
