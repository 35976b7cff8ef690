"""Ends a run that makes no progress, e.g. one that waits for a collective of a host that is gone."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

from codepmp_jax.cli.exit_codes import STUCK


class Watchdog:
    """Between signs of life no more than `seconds` may pass; 0 is no limit. A sign is each `beat`, and that bytes arrive."""

    def __init__(self, seconds: float, num_bytes: Callable[[], int] = lambda: 0):
        """`num_bytes` says how many bytes have been read so far: of shards, weights, checkpoints."""
        self._seconds = seconds
        self._num_bytes = num_bytes
        self._doing = "starting"
        self._beaten = time.monotonic()
        self._closed = threading.Event()
        if seconds:
            threading.Thread(target=self._watch, daemon=True).start()

    def beat(self, doing: str) -> None:
        """Says what is done from here on."""
        self._doing = doing
        self._beaten = time.monotonic()

    def close(self) -> None:
        """Watches no longer."""
        self._closed.set()

    def _watch(self) -> None:
        before = self._num_bytes()
        while not self._closed.wait(min(self._seconds / 4, 10)):
            now = self._num_bytes()
            if now != before:
                before, self._beaten = now, time.monotonic()
            waited = time.monotonic() - self._beaten
            if waited > self._seconds:
                print(
                    f"error: no progress for {waited:.0f} s in: {self._doing}. The stacks of all threads "
                    "follow. Remedy: see where they wait; raise watchdog.seconds if it only takes long.",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                # Nothing else would end a thread that waits in native code.
                os._exit(STUCK)
