"""A trace of some steps for XProf."""

from __future__ import annotations

import contextlib
from typing import Any

import jax

from codepmp_jax.config import ProfileConfig
from codepmp_jax.files import storage
from codepmp_jax.training.telemetry import is_main_process, logger


class Trace:
    """Traces the steps of `config` on the first host, into `folder`."""

    def __init__(self, config: ProfileConfig, folder: str):
        self._bounds = config.bounds if is_main_process() else None
        self._folder = folder
        self._open = contextlib.ExitStack()

    def before(self, step: int, state: Any) -> None:
        """Call it before a step; `state` is what the step takes."""
        if self._bounds is not None and step == self._bounds[0]:
            jax.block_until_ready(state)
            self._open.callback(
                logger.info, "trace of the steps %d to %d: %s", *self._bounds, self._folder
            )
            local = self._open.enter_context(storage.written_locally(self._folder))
            self._open.enter_context(jax.profiler.trace(local))

    def after(self, step: int, state: Any) -> None:
        """Call it after a step; `state` is what the step gave."""
        if self._bounds is not None and step == self._bounds[1]:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Writes the trace if one is open."""
        self._open.close()
