"""Notices that a host will be taken away: SIGTERM, to any process of the run."""

from __future__ import annotations

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

from codepmp_jax.cli.exit_codes import RESUME


class Preempted(SystemExit):
    """The run was asked to stop and resumes from what it saved; ends the process with status RESUME."""

    def __init__(self) -> None:
        super().__init__(RESUME)


class Preemption:
    """Whether the run was asked to stop. While it is entered, SIGTERM is a notice and not the end.

    Where jax.distributed runs, its coordination service catches SIGTERM on every host, and lets all hosts
    hear of a notice to one of them at the same call of `noticed`; elsewhere a handler of Python's does.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._is_noticed = False
        self._before: Any = None

    def __enter__(self) -> Preemption:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not jax.distributed.is_initialized():
            self._before = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _notice(self, *signalled: object) -> None:
        self._is_noticed = True

    def noticed(self) -> bool:
        """Whether to save and stop here. All hosts must call it equally often, at the same places.

        The hosts agree on a call by its number, one after the furthest of them, which therefore counts
        every call and not the steps.
        """
        self._calls += 1
        if jax.distributed.is_initialized():
            self._is_noticed |= multihost_utils.reached_preemption_sync_point(self._calls)
        return self._is_noticed
