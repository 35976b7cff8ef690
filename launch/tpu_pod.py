"""Trains a preference model: the same program on a TPU pod, a GPU and a laptop.

    python launch/tpu_pod.py --config pmp_7b --workdir DIR --data.input PAIRS

The same command again resumes from the newest checkpoint. On a pod, every host runs this command.
"""

from __future__ import annotations

import os
import pathlib

import jax

from codepmp_jax import presets, telemetry
from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion import load
from codepmp_jax.training.loop import train


def join_hosts() -> None:
    """Joins the other hosts of a TPU slice, or those that JAX_COORDINATOR_ADDRESS names."""
    is_tpu_vm = any(pathlib.Path("/dev").glob("accel[0-9]*")) or pathlib.Path("/dev/vfio").is_dir()
    if os.environ.get("JAX_PLATFORMS", "tpu") == "tpu" and is_tpu_vm:
        jax.distributed.initialize()
    elif "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )


def main() -> None:
    """Parses, joins the other hosts, loads the initial parameters if any, trains."""
    config = presets.parse(TrainConfig, "Trains a preference model (PMP or RM finetuning).")
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
