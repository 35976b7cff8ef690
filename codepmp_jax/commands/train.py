"""Trains a preference model, or a language model of documents: the same program on a TPU pod, a GPU and a laptop.

    codepmp train --config pmp_7b --workdir DIR --data.input PAIRS

The same command again resumes from the newest checkpoint. On a pod, every host runs this command; how, and
what its exit status means, is in launch/README.md.
"""

from __future__ import annotations

import os

from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.devices import chips

COMMAND = (TrainConfig, "Trains a preference model (PMP or RM finetuning), or a language model.")


def main() -> None:
    """Parses, joins the other hosts, loads the initial parameters if any, trains."""
    config = presets.parse(*COMMAND, notes=chips.describe_options())
    import jax

    from codepmp_jax.cli import streams
    from codepmp_jax.conversion import load
    from codepmp_jax.devices import hosts
    from codepmp_jax.files import notes
    from codepmp_jax.training import telemetry
    from codepmp_jax.training.loop import train

    hosts.join(config.watchdog.heartbeat_seconds)
    # A program for one CPU need not run on another that shares the workdir.
    if (
        config.compilation_cache
        and "JAX_COMPILATION_CACHE_DIR" not in os.environ
        and jax.default_backend() != "cpu"
    ):
        jax.config.update("jax_compilation_cache_dir", f"{config.workdir}/compilation_cache")
    telemetry.setup_logging()
    name = "notes.txt" if telemetry.is_main_process() else f"notes.host{jax.process_index()}.txt"
    streams.keep_notes(lambda line: notes.add(config.workdir, line, name))
    config = load.resolve(config)
    last = train(config, load.params_loader(config))
    if telemetry.is_main_process():
        shown = {
            name: last[name]
            for name in ("loss", "eval_accuracy", "eval_lm_perplexity")
            if last.get(name) is not None
        }
        figures = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        if "eval_accuracy" in shown and "heldout_pairs" in last:
            figures += f" ({last['heldout_pairs']} of {last['heldout_records']} held-out pairs)"
        if "eval_lm_perplexity" in shown and "heldout_pieces" in last:
            figures += f" ({last['heldout_pieces']} pieces of {last['heldout_records']} held-out documents)"
        print(f"{config.workdir}: {figures or 'was already at its last step'}")
