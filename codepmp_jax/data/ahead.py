"""Runs an iterator some elements ahead of its user, in a thread, without losing its state."""

from __future__ import annotations

import abc
import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

ElementT = TypeVar("ElementT")


class StatefulIterator(Iterator[ElementT]):
    """An iterator whose state can be read and restored."""

    @abc.abstractmethod
    def get_state(self) -> Any:
        """The state after the last element; not changed by going on."""

    @abc.abstractmethod
    def set_state(self, state: Any) -> None:
        """Puts the iterator where it gave that state."""


class Ahead(StatefulIterator[ElementT]):
    """The elements of `source`; the state is that of the element last returned, not last made.

    An error of the source reaches the caller at its place in the order. A call after an error starts
    again behind the element last returned.
    """

    def __init__(self, source: StatefulIterator[ElementT], size: int):
        self._source = source
        self._size = size
        self._state = source.get_state()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._made: queue.Queue[tuple[Any, Any, BaseException | None]] = queue.Queue()

    def __next__(self) -> ElementT:
        if self._thread is None:
            self._stopping = threading.Event()
            self._made = queue.Queue(self._size)
            arguments = (self._source, self._made, self._stopping)
            self._thread = threading.Thread(target=_make, args=arguments, daemon=True)
            self._thread.start()
        element, state, error = self._made.get()
        if error is not None:
            self.set_state(self._state)
            raise error
        self._state = state
        return element

    def get_state(self) -> Any:
        """The source's state after the element last returned."""
        return self._state

    def set_state(self, state: Any) -> None:
        """Puts the source where it gave that state; what was made ahead is thrown away."""
        self.stop()
        self._source.set_state(state)
        self._state = state

    def stop(self) -> None:
        """Ends the thread after the element it is at."""
        self._stopping.set()
        while self._thread is not None and self._thread.is_alive():
            # Make room, so that the thread can put down what it holds.
            while not self._made.empty():
                self._made.get()
            self._thread.join(timeout=0.05)
        self._thread = None


def _make(source: Any, made: queue.Queue, stopping: threading.Event) -> None:
    """The thread. It holds no reference to the Ahead, which can so be collected."""
    try:
        while not stopping.is_set():
            element = next(source)
            made.put((element, source.get_state(), None))
    except BaseException as error:
        made.put((None, None, error))
