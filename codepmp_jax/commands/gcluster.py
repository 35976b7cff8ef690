"""Trains on TPU slices of a GKE cluster, as a workload that Cluster Toolkit's gcluster submits.

    codepmp gcluster --name pmp --cluster tpus --location us-west4-a --image IMAGE -- --config pmp_7b ...

What stands after -- goes to `codepmp train` on every host. --dry-run prints what would run.
"""

from __future__ import annotations

import shlex

from codepmp_jax.cli import shell
from codepmp_jax.cli.errors import require
from codepmp_jax.cli.exit_codes import RESTARTED
from codepmp_jax.config import GclusterConfig, presets

COMMAND = (GclusterConfig, "Trains on a GKE cluster by gcluster.")


def make_command(config: GclusterConfig, options: list[str]) -> list[str]:
    """What submits the workload: `gcluster job submit`, whose flags are documented in Cluster Toolkit's reference.

    Raises UserError where no image with its registry is given.
    """
    require_image(config.image)
    flags = {
        "--name": config.name,
        "--cluster": config.cluster,
        "--project": config.project,
        "--location": config.location,
        "--image": config.image,
        "--compute-type": config.compute_type,
        "--topology": config.topology,
        "--num-slices": config.num_slices,
        "--queue": config.queue,
        "--priority": config.priority,
        "--service-account": config.service_account,
        "--restarts": config.max_restarts,
        # gcluster fails the workload at once after every other status. It adds no signals by itself, as xpk does.
        "--restart-on-exit-codes": ",".join(map(str, RESTARTED)),
        "--grace-period": f"{config.grace_seconds}s",
        "--dry-run-out": config.dry_run_out,
    }
    return [
        *("gcluster", "job", "submit"),
        *(f"{flag}={value}" for flag, value in flags.items() if value is not None),
        *(f"--env={variable}" for variable in config.env),
        # gcluster hands it to a shell, whose place training takes: SIGTERM goes to the container's first process.
        f"--command=exec {shlex.join(['codepmp', 'train', *options])}",
    ]


def require_image(image: str) -> None:
    """Raises UserError where an image is missing or has no registry: nodes would look for it on Docker Hub."""
    require(
        "/" in image,
        "image",
        image,
        "must be an image with its registry",
        "build one with the Dockerfile, push it, and give e.g. "
        "us-docker.pkg.dev/PROJECT/REPOSITORY/codepmp_jax:TAG",
    )


def main() -> None:
    """Parses, submits."""
    arguments, options = presets.split_arguments()
    config = presets.parse(*COMMAND, arguments)
    print(shell.run(make_command(config, options), config.dry_run))
