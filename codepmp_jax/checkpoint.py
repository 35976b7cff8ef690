"""Orbax checkpoints of a run: parameters, optimizer state, data state and config, each an item.

WORKDIR/checkpoints/STEP/{params, optimizer, data, config}
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from codepmp_jax.config import CheckpointConfig
from codepmp_jax.errors import UserError


class Restored(NamedTuple):
    """What a checkpoint holds."""

    params: Any
    optimizer: Any
    data: Any
    config: dict[str, Any]


class Checkpointer:
    """Saves in the background; a checkpoint appears under its step only when it is whole."""

    def __init__(self, workdir: str, config: CheckpointConfig | None = None):
        """Opens WORKDIR/checkpoints: with a config to save and restore, without one to restore."""
        self.directory = pathlib.Path(workdir).absolute() / "checkpoints"
        if config is None and not self.directory.is_dir():
            raise UserError(
                f"{self.directory}: no such folder. Remedy: give the workdir of a training run."
            )
        options = (
            ocp.CheckpointManagerOptions(max_to_keep=config.keep)
            if config
            else ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=options,
            item_names=("params", "optimizer", "data", "config"),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "optimizer": ocp.StandardCheckpointHandler(),
                "data": ocp.JsonCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
            },
        )

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, params: Any, optimizer: Any, data: Any, config: Any) -> None:
        """Starts to save; returns when the arrays are copied, before they are written."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params),
                optimizer=ocp.args.StandardSave(optimizer),
                data=ocp.args.JsonSave(data),
                config=ocp.args.JsonSave(config),
            ),
            force=True,
        )

    def _restore(self, step: int | None, **items: Any) -> Any:
        found = self.latest_step() if step is None else step
        try:
            if found is None or found not in self._manager.all_steps():
                there = ", ".join(map(str, self._manager.all_steps())) or "none"
                raise FileNotFoundError(f"there is no such checkpoint; there are: {there}")
            return self._manager.restore(found, args=ocp.args.Composite(**items))
        except Exception as error:
            raise UserError(
                f"{self.directory / str(found)}: cannot be restored: {error} Remedy: train with the "
                "config of the checkpoint, or remove this checkpoint to go back to the one before."
            ) from error

    def restore(self, params: Any, optimizer: Any, step: int | None = None) -> Restored:
        """The checkpoint of `step`, the newest by default, onto the abstract arrays' shardings.

        Raises UserError naming the checkpoint if it is not there or cannot be restored.
        """
        items = self._restore(
            step,
            params=ocp.args.StandardRestore(params),
            optimizer=ocp.args.StandardRestore(optimizer),
            data=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        )
        return Restored(items.params, items.optimizer, items.data, items.config)

    def restore_params(self, params: Any, step: int | None = None) -> Any:
        """Only the parameters of a checkpoint, onto the abstract arrays' shardings."""
        return self._restore(step, params=ocp.args.StandardRestore(params)).params

    def restore_config(self, step: int | None = None) -> dict[str, Any]:
        """Only the config of a checkpoint, as JSON values."""
        return self._restore(step, config=ocp.args.JsonRestore()).config

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()


def gather(value: Any) -> list[Any]:
    """Every process's JSON value, in the order of processes; on every process."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.array([len(text)], np.int32)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = text
    texts = np.reshape(multihost_utils.process_allgather(padded), (len(sizes), -1))
    return [json.loads(bytes(row[:size]).decode()) for row, size in zip(texts, sizes, strict=True)]
