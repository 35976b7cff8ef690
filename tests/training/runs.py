"""Runs that end early, and what a training run left in its workdir."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.config import TrainConfig
from codepmp_jax.devices import sharding
from codepmp_jax.models.preference import Params
from codepmp_jax.training import loop
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import abstract_state


class Killed(Exception):
    """What ends a run that a test kills."""


def train_until(
    config: TrainConfig, step: int, load_params: Callable[[Params], Params] | None = None
) -> None:
    """Trains and ends before anything of the step is written."""
    rows_of = loop.Window.rows

    def killed(window, *values):
        if window.steps[-1][0] == step:
            raise Killed
        return rows_of(window, *values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Window, "rows", killed)
        with pytest.raises(Killed):
            loop.train(config, load_params)


def rows(config: TrainConfig) -> list[dict[str, Any]]:
    """Metrics of the run, without those that measure time."""
    text = (pathlib.Path(config.workdir) / "metrics.jsonl").read_text()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("speed/")}
        for line in text.splitlines()
    ]


def assert_close(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same metrics but for the order of sums; the same ones are not defined."""
    assert row.keys() == expected.keys()
    defined = {name: value for name, value in expected.items() if value is not None}
    assert {name for name, value in row.items() if value is not None} == defined.keys()
    assert {name: row[name] for name in defined} == pytest.approx(defined, rel=1e-4, abs=1e-5)


def final_state(config: TrainConfig) -> list[np.ndarray]:
    """Parameters and optimizer state of the newest checkpoint."""
    mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])
    optimizer = optimizers.build(config.optimizer, 6)
    abstract = abstract_state(config, optimizer, mesh)
    restored = Checkpointer(config.workdir).restore(
        abstract.params, (abstract.step, abstract.opt_state)
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves((restored.params, restored.optimizer))]
