"""Work that steps do not wait for."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable
from typing import Any


class Background:
    """Runs calls on a thread, one after the other, in their order.

    What a call raises, the next `run` or `wait` raises; the calls after it are made all the same.
    """

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "background")
        self._calls: collections.deque[concurrent.futures.Future[Any]] = collections.deque()

    def run(self, call: Callable[..., object], *values: Any) -> concurrent.futures.Future[Any]:
        """Asks for a call, whose values must not change any more; what says when it is done. Raises what an earlier one
        raised."""
        while self._calls and self._calls[0].done():
            self._calls.popleft().result()
        asked = self._thread.submit(call, *values)
        self._calls.append(asked)
        return asked

    def wait(self) -> None:
        """Waits until all calls are done. Raises what one of them raised."""
        while self._calls:
            self._calls.popleft().result()

    @property
    def is_idle(self) -> bool:
        """Whether all calls are done."""
        return not self._calls or self._calls[-1].done()

    def close(self) -> None:
        """Waits until all calls are done, and ends the thread. Raises what one of them raised."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
