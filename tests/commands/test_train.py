"""The settings of a decay branch as a command line gives them: its own, RUN's, the preset's."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import sys

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands.train import branch_settings
from codepmp_jax.config import OptimizerConfig, TrainConfig, presets
from tests import processes
from tests.e2e.launching import environment
from tests.training.reference import tiny_config


def save(config: TrainConfig, step: int) -> None:
    """The settings of a checkpoint."""
    folder = pathlib.Path(config.workdir) / "checkpoints" / str(step) / "config"
    folder.mkdir(parents=True)
    (folder / "metadata").write_text(json.dumps(presets.to_json(config)))


@pytest.fixture
def run(tmp_path) -> TrainConfig:
    config = tiny_config(
        workdir=str(tmp_path / "run"),
        optimizer=OptimizerConfig(schedule="wsd", warmup_steps=3, learning_rate=2e-3),
        num_steps=500,
        log_every_steps=7,
        allow_config_change=True,
        model__init_from="a/base",
    )
    save(config, 100)
    save(dataclasses.replace(config, log_every_steps=9), 119)
    return config


def parse(*argv: object) -> tuple[TrainConfig, list[str]]:
    log: list[str] = []
    rebase = functools.partial(branch_settings, log=log)
    config = presets.parse(TrainConfig, "Trains.", [*map(str, argv)], rebase=rebase)
    return config, log


def test_a_branch_has_the_settings_of_its_run(run, tmp_path):
    """But for its workdir, its length and what a start allows. They give way to no preset where none is named."""
    workdir = tmp_path / "branch"
    config, log = parse("--decay-from", f"{run.workdir}@100", "--workdir", workdir)
    assert config == dataclasses.replace(
        run,
        workdir=str(workdir),
        decay_from=f"{run.workdir}@100",
        num_steps=None,
        allow_config_change=False,
    )
    assert log == []
    config, _ = parse(f"--decay_from={run.workdir}/@119", "--workdir", workdir)
    assert config.log_every_steps == 9


def test_the_command_line_goes_before_the_run_and_the_run_before_a_preset(run, tmp_path):
    source = f"{run.workdir}@100"
    config, (line,) = parse(
        *("--config", "pmp_tiny", "--decay-from", source),
        *("--log-every-steps", 3, "--optimizer.decay-steps", 20),
    )
    assert (config.log_every_steps, config.optimizer.decay_steps) == (3, 20)
    assert config.workdir == "runs/pmp_tiny"
    assert config.model == run.model
    assert line.startswith(f"settings of {source}, in place of the preset's: ")
    assert "data.max_length 24 (preset: 224)" in line
    assert "workdir" not in line.partition(": ")[2]
    assert "log_every_steps" not in line
    same = tmp_path / "config.json"
    same.write_text(json.dumps(presets.to_json(run)))
    assert parse("--config", same, "--decay-from", source)[1] == []


def test_a_branchs_own_settings_are_complete(run, tmp_path):
    """Where the preset is the branch's config.json, nothing is RUN's."""
    branch = dataclasses.replace(
        run, workdir="branch", decay_from=f"{run.workdir}@100", log_every_steps=1
    )
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(presets.to_json(branch)))
    assert parse("--config", settings) == (branch, [])


def test_a_branch_goes_on_without_its_run(run, tmp_path):
    branch = dataclasses.replace(
        run, workdir=str(tmp_path / "branch"), num_steps=112, log_every_steps=4
    )
    pathlib.Path(run.workdir).rename(tmp_path / "gone")
    argv = ("--decay-from", f"{run.workdir}@100", "--workdir", branch.workdir)
    argv = ("--config", "pmp_tiny", *argv)
    with pytest.raises(UserError, match=r"run/checkpoints/100: .*there are: none"):
        parse(*argv)
    save(branch, 105)
    config, (line,) = parse(*argv)
    assert (config.log_every_steps, config.num_steps) == (4, None)
    assert line.startswith(f"settings of {branch.workdir}@105")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@101", r"checkpoints/101: there is no such checkpoint; there are: 100, 119\. Remedy"),
        ("", r"decay_from = '.*/run': must be RUN@STEP.*Remedy: e\.g\. runs/pmp_7b_wsd@1000"),
    ],
)
def test_mistakes_are_named(run, source, said):
    with pytest.raises(UserError, match=said):
        parse("--decay-from", run.workdir + source)


def test_damaged_settings_are_named(run):
    path = pathlib.Path(run.workdir) / "checkpoints" / "100" / "config" / "metadata"
    path.write_text("{")
    with pytest.raises(UserError, match=r"checkpoints/100: config/metadata is damaged"):
        parse("--decay-from", f"{run.workdir}@100")


def test_the_settings_are_shown(run, capsys):
    with pytest.raises(SystemExit):
        parse("--decay-from", f"{run.workdir}@100", "--log-every-steps", 3, "--print-config")
    shown = capsys.readouterr().out.splitlines()
    assert "* log_every_steps = 3   (preset: 7)" in shown
    assert f"  decay_from = '{run.workdir}@100'" in shown


@pytest.mark.parametrize("place", ["gs://bucket", "/disk"])
def test_xla_keeps_its_caches_off_buckets(place):
    """They lie below JAX's folder, and XLA cannot write to a bucket."""
    program = f"""
import jax
from jax._src import compiler
from codepmp_jax.commands.train import keep_programs
from codepmp_jax.config import TrainConfig
keep_programs(TrainConfig(workdir="{place}/run"))
assert jax.config.jax_compilation_cache_dir == "{place}/run/compilation_cache"
options = compiler.get_compile_options(num_replicas=1, num_partitions=8)
debug = options.executable_build_options.debug_options
print(repr(debug.xla_gpu_per_fusion_autotune_cache_dir))
"""
    done = processes.run([sys.executable, "-c", program], environment())
    caches = done.stdout.strip()
    if place == "/disk":
        assert caches.startswith("'/disk/run/compilation_cache"), done
    else:
        assert caches == "''", done
