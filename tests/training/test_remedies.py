"""The remedies that errors of a run name: each, set as it says, lets the run go on."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, MeshConfig, TrainConfig, presets
from codepmp_jax.training import loop
from codepmp_jax.training.run import Run
from tests.conversion.runs import write_run

pytestmark = pytest.mark.usefixtures("compiled_once")


def change(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """The config with settings by dotted path."""
    for path, value in changes.items():
        section, _, name = path.rpartition(".")
        if section:
            part = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: part})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


# What is set -> what the error says, its remedy in it -> the remedy as settings.
AT_THE_START = [
    (
        {"model.vocab_size": 104},
        r"model\.vocab_size = 104: .*Remedy: set it to 4096",
        {"model.vocab_size": 4096},
    ),
    (
        {"num_steps": None, "global_batch_rows": 64},
        r"Remedy: lower it, or give num_steps",
        {"num_steps": 1},
    ),
    (
        {"num_steps": None, "global_batch_rows": 64},
        r"Remedy: lower it, or give num_steps",
        {"global_batch_rows": 8},
    ),
    (
        {"mesh": MeshConfig(data=3, fsdp=-1)},
        r"Remedy: set one of them to -1, and let the others divide",
        {"mesh": MeshConfig(data=2, fsdp=-1)},
    ),
]


@pytest.mark.parametrize(("broken", "said", "remedy"), AT_THE_START)
def test_at_the_start(finished, tmp_path, broken, said, remedy):
    config = change(finished, {"workdir": str(tmp_path / "run"), **broken})
    with pytest.raises(UserError, match=said):
        Run(config)
    with contextlib.closing(Run(change(config, {"workdir": str(tmp_path / "new"), **remedy}))):
        pass


ALLOWED = {"allow_config_change": True}
ON_RESUME = [
    (
        {"seed": 1, "global_batch_rows": 16, "data.max_length": 48},
        "the old settings, or --allow-config-change",
        ALLOWED,
    ),
    (
        {"data.layout": "packed", "data.row_length": 64},
        "the old settings, or --allow-config-change",
        ALLOWED,
    ),
    ({"model.mlp_dim": 64}, r"another workdir or the old settings\.", {"model.mlp_dim": 48}),
    ({"data.num_streams": 2}, r"another workdir or the old settings\.", {"data.num_streams": 1}),
    ({"num_steps": 5}, "Remedy: give 6 or more", {"num_steps": 7}),
]


@pytest.mark.parametrize(("broken", "said", "remedy"), ON_RESUME)
def test_on_resume(copy, broken, said, remedy):
    """The run goes on for a step."""
    config = change(copy, {"num_steps": 7, "eval_pairs": 0, **broken})
    with pytest.raises(UserError, match=said):
        loop.train(config)
    assert loop.train(change(config, remedy))["step"] == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.first_moment_dtype": "bfloat16"},
        {"accumulation_steps": 2, "mesh": MeshConfig(data=1, fsdp=4, tensor=2)},
        {"checkpoint": CheckpointConfig(keep_best=1, best_metric="eval_pair_loss")},
    ],
)
def test_what_may_change_on_resume_does(copy, changes):
    assert loop.train(change(copy, {"num_steps": 7, **changes}))["step"] == 7


def test_numbers_that_are_not_finite(finished, tmp_path):
    """Lower optimizer.learning_rate, and resume."""
    broken = {"optimizer.learning_rate": 3e38, "optimizer.weight_decay": 100.0}
    config = change(finished, {"workdir": str(tmp_path), "num_steps": 2, "eval_pairs": 0})
    with pytest.raises(UserError, match=r"Remedy: lower optimizer\.learning_rate"):
        loop.train(change(config, {**broken, "optimizer.warmup_fraction": 0.0}))
    assert loop.train(config)["step"] == 2


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        (
            lambda folder: (folder / "checkpoints/6/config/metadata").write_text("{"),
            r"--checkpoint\.fall-back goes back to step 4",
            {"checkpoint.fall_back": True},
        ),
    ],
)
def test_damaged_checkpoints(copy, spoil: Callable[[pathlib.Path], Any], said, remedy):
    spoil(pathlib.Path(copy.workdir))
    with pytest.raises(UserError, match=said):
        loop.train(copy)
    assert loop.train(change(copy, remedy))["step"] == 6


def test_a_converted_run_is_started_from_and_not_resumed(finished, tmp_path):
    from codepmp_jax.conversion import load

    converted = change(finished, {"workdir": str(tmp_path / "converted")})
    write_run(converted)
    with pytest.raises(UserError, match=r"Remedy: give another workdir, and --model\.init-from"):
        loop.train(converted)
    config = load.resolve(
        change(
            finished,
            {
                "workdir": str(tmp_path / "new"),
                "model.init_from": converted.workdir,
                "num_steps": 1,
                "eval_pairs": 0,
            },
        )
    )
    assert loop.train(config, load.params_loader(config))["step"] == 1


def test_a_path_that_orbax_takes_for_a_pattern(finished, tmp_path):
    """One with ( ) or = in place of [ ]."""
    config = change(finished, {"num_steps": 1, "eval_pairs": 0})
    with pytest.raises(UserError, match=r"e\.g\. one with \( \) or ="):
        loop.train(change(config, {"workdir": str(tmp_path / "lr[1e-3]")}))
    named = change(config, {"workdir": str(tmp_path / "lr=(1e-3)")})
    loop.train(named)
    saved = Checkpointer(named.workdir).restore_config()
    assert presets.from_json(TrainConfig, saved, "run").workdir == named.workdir
