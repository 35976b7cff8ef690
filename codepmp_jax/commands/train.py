"""Trains a preference model, or a language model of documents: the same program on a TPU pod, a GPU and a laptop.

    codepmp train --config pmp_7b --workdir DIR --data.input PAIRS
    codepmp train --decay-from RUN@STEP --workdir DIR

The same command again resumes from the newest checkpoint. On a pod, every host runs this command; how, and
what its exit status means, is in launch/README.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.config.training import run_and_step
from codepmp_jax.devices import chips

COMMAND = (TrainConfig, "Trains a preference model (PMP, RM) or a language model.")

# Settings that a decay branch does not take from the run that it starts from.
_OWN = ("workdir", "decay_from", "num_steps", "allow_config_change")


def branch_settings(preset: TrainConfig, given: Mapping[str, str], log: list[str]) -> TrainConfig:
    """Of a command line with --decay-from RUN@STEP: RUN's settings at STEP, in place of the preset's.

    Where RUN is gone, those of the branch's own newest checkpoint. Without --decay-from, also where the preset has it
    (it is then a branch's own config.json): the preset. `log` gets a line that names each setting that differs, but for
    defaults, which nobody has asked for.
    """
    source = given.get("decay_from")
    if source is None:
        return preset
    is_named = preset != TrainConfig()
    # Refuses what is no RUN@STEP.
    preset = dataclasses.replace(preset, decay_from=source, num_steps=None)
    run, step = run_and_step(source)
    from codepmp_jax.checkpoint import saved_settings

    try:
        saved, origin = saved_settings.read(run, step), source
    except UserError:
        workdir = given.get("workdir", preset.workdir)
        own = saved_settings.steps(workdir)
        if not own:
            raise
        saved, origin = saved_settings.read(workdir, own[-1]), f"{workdir}@{own[-1]}"
    config = presets.from_json(TrainConfig, saved, origin)
    config = dataclasses.replace(config, **{name: getattr(preset, name) for name in _OWN})
    before = dict(presets.flatten(preset))
    changed = [
        f"{path} {value!r} (preset: {before.get(path)!r})"
        for path, value in presets.flatten(config)
        if value != before.get(path) and path not in given
    ]
    if changed and is_named:
        log.append(f"settings of {origin}, in place of the preset's: {', '.join(changed)}")
    return config


def keep_programs(config: TrainConfig) -> None:
    """Lets JAX keep compiled programs in WORKDIR/compilation_cache, unless the config or the environment says otherwise."""
    import jax

    from codepmp_jax.files import storage

    if not config.compilation_cache or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", f"{config.workdir}/compilation_cache")
    if storage.is_bucket(config.workdir):
        # On GPUs XLA's own caches go below that folder, and XLA knows no buckets.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def main() -> None:
    """Parses, joins the other hosts, loads the initial parameters if any, trains."""
    log: list[str] = []
    rebase = functools.partial(branch_settings, log=log)
    config = presets.parse(*COMMAND, notes=chips.describe_options(), rebase=rebase)
    import jax

    from codepmp_jax.cli import streams
    from codepmp_jax.conversion import load
    from codepmp_jax.devices import hosts
    from codepmp_jax.files import notes
    from codepmp_jax.training import telemetry, tracking
    from codepmp_jax.training.loop import train

    hosts.join(config.watchdog.join_seconds, config.watchdog.heartbeat_seconds)
    hosts.require_accelerator()
    # A program for one CPU need not run on another that shares the workdir.
    if jax.default_backend() != "cpu":
        keep_programs(config)
    telemetry.setup_logging()
    name = "notes.txt" if telemetry.is_main_process() else f"notes.host{jax.process_index()}.txt"
    streams.keep_notes(lambda line: notes.add(config.workdir, line, name))
    for line in log:
        telemetry.logger.info("%s", line)
    with contextlib.ExitStack() as stack:
        with hosts.leaving_on_error():
            config = load.resolve(config)
            stack.enter_context(tracking.tracked(config))
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
