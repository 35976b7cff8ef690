"""Decay branches: a run that starts from RUN@STEP, a checkpoint of a WSD run, and only decays.

The branch is the end of a WSD run: of the one with RUN's warmup whose decay begins after STEP. It has the same steps,
to the bit. With optimizer.decay_steps it decays for so many steps, else for those of the shortest such run
(optimizer.branch_decay). The branch keeps its length in its own settings (num_steps, optimizer.warmup_steps,
optimizer.decay_steps), so that it resumes without RUN. RUN is only read, and may still be training.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.checkpoint.newest import newest_config
from codepmp_jax.cli.errors import require
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.config.training import run_and_step
from codepmp_jax.files import storage
from codepmp_jax.training import optimizer as optimizers

# What a branch begins with is RUN's; its own values say where that came from.
_ORIGIN = ("model.init_from", "model.base", "init")
_STEP_RULE = "must be a step of a run with the schedule wsd, between its warmup and its decay, but"


class Branch:
    """The checkpoint that a branch starts from, opened to read."""

    def __init__(self, config: TrainConfig):
        """Raises UserError where RUN has no checkpoint of STEP. All hosts must call it."""
        assert config.decay_from is not None
        self.run, self.step = run_and_step(config.decay_from)
        """RUN and STEP."""
        self.checkpointer = Checkpointer(self.run)
        self.source = f"{self.checkpointer.directory}/{self.step}"
        """The checkpoint's folder."""
        self.saved: dict[str, Any] = self.checkpointer.restore_config(self.step)
        """RUN's settings at STEP, as JSON values."""

    def close(self) -> None:
        """Ends reading."""
        self.checkpointer.close()


def begin(config: TrainConfig) -> tuple[TrainConfig, TrainConfig | None, Branch | None]:
    """The settings of a start, those of the checkpoint that it resumes or starts from, and RUN@STEP where it is that.

    All hosts must call it. Raises UserError where the workdir is RUN's or holds a run that began otherwise, and where RUN
    has another schedule than wsd.
    """
    require(
        config.decay_from is None
        or not _is_same_folder(config.workdir, run_and_step(config.decay_from)[0]),
        "decay_from",
        config.decay_from,
        f"must be of another run than that of the workdir ({config.workdir})",
        "give a new --workdir",
    )
    value, source, branch = newest_config(config.workdir), config.workdir, None
    if value is None and config.decay_from is not None:
        branch = Branch(config)
        value, source = branch.saved, branch.source
    if value is None:
        return config, None, None
    saved = presets.from_json(TrainConfig, value, source)
    if branch is None:
        _check_resumed(config, saved)
    else:
        require(
            saved.optimizer.schedule == "wsd",
            "decay_from",
            config.decay_from,
            f"{_STEP_RULE} that run has the schedule {saved.optimizer.schedule}",
            "train one with --optimizer.schedule wsd",
        )
    if config.decay_from is not None:
        config = _with_origin(config, saved)
    return config, saved, branch


def _is_same_folder(one: str, other: str) -> bool:
    if storage.is_bucket(one) or storage.is_bucket(other):
        return one.rstrip("/") == other.rstrip("/")
    return pathlib.Path(one).resolve() == pathlib.Path(other).resolve()


def _with_origin(config: TrainConfig, saved: TrainConfig) -> TrainConfig:
    """The branch's settings with those that say what RUN started from.

    Raises UserError where the branch names another model to start from.
    """
    for path in _ORIGIN:
        *section, name = path.split(".")
        here, there = (getattr(one, section[0]) if section else one for one in (config, saved))
        value, expected = getattr(here, name), getattr(there, name)
        require(
            value in (None, expected),
            path,
            value,
            f"must not be given with decay_from ({config.decay_from}), which is what the run starts from",
            "leave one of the two out",
        )
        changed: Any = dataclasses.replace(here, **{name: expected})
        config = dataclasses.replace(config, **{section[0]: changed}) if section else changed
    return config


def _check_resumed(config: TrainConfig, saved: TrainConfig) -> None:
    """Raises UserError where the run in the workdir, with the settings `saved`, began otherwise. RUN is not read."""
    begun, asked = (
        None if one.decay_from is None else run_and_step(one.decay_from) for one in (saved, config)
    )
    how, remedy = "is no decay branch", "leave --decay-from out"
    if begun is not None:
        how = f"began with --decay-from {saved.decay_from}"
        remedy = "repeat that, although it is not read again"
    require(
        begun == asked,
        "decay_from",
        config.decay_from,
        f"must be as at the start of the run in {config.workdir}, which {how}",
        f"give another workdir, or {remedy}",
    )


def warmup_of(config: TrainConfig, saved: TrainConfig, total: int) -> int:
    """Steps of the warmup of RUN, which has the settings `saved` and `total` steps.

    Raises UserError where its learning rate after STEP is not the peak, from which the branch decays.
    """
    _, step = run_and_step(str(config.decay_from))
    warmup, decay = optimizers.phases(saved.optimizer, total)
    require(
        warmup <= step <= total - decay,
        "decay_from",
        config.decay_from,
        f"{_STEP_RULE} the warmup of that run ends after step {warmup}, and its decay begins after step {total - decay}",
        "give the step of a checkpoint from there",
    )
    return warmup


def with_length(config: TrainConfig, saved: TrainConfig, warmup: int) -> TrainConfig:
    """The branch's settings with its length: num_steps, optimizer.warmup_steps and optimizer.decay_steps.

    `saved` are RUN's settings, or the branch's own of an earlier start; `warmup` are the steps of its warmup. Raises
    UserError where the branch's settings ask for a schedule that is not RUN's up to STEP, or for another length.
    """
    _, step = run_and_step(str(config.decay_from))
    decay = optimizers.branch_decay(config.optimizer, step)
    require(
        decay > 0,
        "optimizer.decay_fraction",
        config.optimizer.decay_fraction,
        f"must leave steps to decay after step {step}",
        "give --optimizer.decay-steps",
    )
    for path, value, expected in (
        ("optimizer.schedule", config.optimizer.schedule, (saved.optimizer.schedule,)),
        (
            "optimizer.warmup_fraction",
            config.optimizer.warmup_fraction,
            (saved.optimizer.warmup_fraction,),
        ),
        ("optimizer.warmup_steps", config.optimizer.warmup_steps, (None, warmup)),
        ("num_epochs", config.num_epochs, (saved.num_epochs,)),
        ("num_steps", config.num_steps, (None, step + decay)),
    ):
        require(
            value in expected,
            path,
            value,
            f"must be {expected[-1]!r} in a decay branch: its schedule up to step {step} is that of the run it starts "
            f"from, and then it decays for {decay} steps",
            "leave it out; optimizer.decay_steps sets the length of the branch",
        )
    optimizer = dataclasses.replace(config.optimizer, warmup_steps=warmup, decay_steps=decay)
    return dataclasses.replace(config, num_steps=step + decay, optimizer=optimizer)
