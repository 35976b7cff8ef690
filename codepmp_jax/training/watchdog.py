"""Ends a run that makes no progress, e.g. one that waits for a collective of a host that is gone."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

from codepmp_jax.cli.exit_codes import STUCK


class Watchdog:
    """Between `beat`s no more than `seconds` may pass; 0 is no limit."""

    def __init__(self, seconds: float):
        self._seconds = seconds
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
        while not self._closed.wait(min(self._seconds / 4, 10)):
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
