"""Trains a preference model: the same program on a TPU pod, a GPU and a laptop.

    python launch/tpu_pod.py --config pmp_7b --workdir DIR --data.input PAIRS

The same command again resumes from the newest checkpoint. On a pod, every host runs this command.
"""

from __future__ import annotations

import os
import pathlib

import jax

from codepmp_jax import chips, presets, telemetry
from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion import load
from codepmp_jax.errors import require
from codepmp_jax.training.loop import train


def join_hosts() -> None:
    """Joins the other hosts of a TPU slice, or those that JAX_COORDINATOR_ADDRESS names."""
    dev = pathlib.Path("/dev")
    is_tpu_vm = any(dev.glob("accel[0-9]*")) or any(dev.glob("vfio/[0-9]*"))
    platforms = os.environ.get("JAX_PLATFORMS") or "tpu"
    if is_tpu_vm and "tpu" in platforms.split(","):
        jax.distributed.initialize()
    elif "JAX_COORDINATOR_ADDRESS" in os.environ:
        names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        for name in names:
            value = os.environ.get(name, "")
            require(value.isdecimal(), name, value, "must be a number", "set it on every host")
        number, index = (int(os.environ[name]) for name in names)
        jax.distributed.initialize(num_processes=number, process_id=index)


def main() -> None:
    """Parses, joins the other hosts, loads the initial parameters if any, trains."""
    config = presets.parse(
        TrainConfig,
        "Trains a preference model (PMP or RM finetuning).",
        notes=chips.describe_options(),
    )
    join_hosts()
    telemetry.setup_logging()
    config = load.resolve(config)
    last = train(config, load.params_loader(config))
    if telemetry.is_main_process():
        shown = {name: last[name] for name in ("loss", "eval_accuracy") if name in last}
        figures = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        print(f"{config.workdir}: {figures or 'was already at its last step'}")


if __name__ == "__main__":
    presets.run(main)
