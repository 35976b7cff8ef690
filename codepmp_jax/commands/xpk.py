"""Trains on TPU slices of a GKE cluster, as a workload that xpk submits and GKE starts again. Legacy.

    codepmp xpk --name pmp --cluster tpus -- --config pmp_7b --workdir gs://B/pmp ...

What stands after -- goes to `codepmp train` on every host. --dry-run prints what would run. Google deprecated xpk:
new clusters take codepmp_jax/commands/gcluster.py.
"""

from __future__ import annotations

import shlex

from codepmp_jax.cli import shell
from codepmp_jax.cli.exit_codes import RESTARTED
from codepmp_jax.config import XpkConfig, presets

COMMAND = (XpkConfig, "Trains on a GKE cluster by xpk (legacy).")


def make_command(config: XpkConfig, options: list[str]) -> list[str]:
    """What submits the workload."""
    training = shlex.join(["codepmp", "train", *options])
    return [
        "xpk",
        "workload",
        "create",
        f"--workload={config.name}",
        f"--cluster={config.cluster}",
        *([f"--project={config.project}"] if config.project else []),
        f"--zone={config.zone}",
        f"--tpu-type={config.tpu_type}",
        f"--num-slices={config.num_slices}",
        f"--docker-image={config.image}",
        f"--max-restarts={config.max_restarts}",
        # Beside those from 127 on, after which xpk does so anyway.
        f"--restart-on-exit-codes={','.join(str(code) for code in RESTARTED if code < 127)}",
        f"--termination-grace-period-seconds={config.grace_seconds}",
        f"--command={training}",
    ]


def main() -> None:
    """Parses, submits."""
    arguments, options = presets.split_arguments()
    config = presets.parse(*COMMAND, arguments)
    print(shell.run(make_command(config, options), config.dry_run))
