"""stdout and stderr that never end, hold up or change the work: what cannot be shown is dropped.

Whoever reads them may go away (a dead `tee`, a lost terminal), stop reading, or be a file on a full disk. Python
then raises in the thread that happens to write, which ends a run, or dies with a lock held.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

# How long a reader of stderr may stop reading before lines are dropped.
PATIENCE_SECONDS = 10.0
# After these the reader does not come back; after others, such as a full disk, it may.
_FOR_GOOD = (errno.EPIPE, errno.EBADF, errno.ECONNRESET)

_take_note: Callable[[str], None] | None = None
_notes: list[str] = []
_lock = threading.RLock()


class Output(io.TextIOBase):
    """A standard stream whose write never raises; the first text that is dropped makes a note.

    Writes to the file descriptor at once. After a reader is gone for good, the descriptor leads to /dev/null, also
    for libraries and processes that this one starts.
    """

    def __init__(self, stream: TextIO, patience: float | None):
        """Waits `patience` seconds for a reader who does not read; None for as long as it takes."""
        self._stream = stream
        self._fd = stream.fileno()
        self._patience = patience
        self._is_stalled = self._is_noted = False
        self._writing = threading.RLock()

    @property
    def encoding(self) -> str:
        """As in TextIOWrapper."""
        return self._stream.encoding

    def fileno(self) -> int:
        """As in TextIOWrapper."""
        return self._fd

    def isatty(self) -> bool:
        """As in TextIOWrapper."""
        try:
            return os.isatty(self._fd)
        except OSError:
            return False

    def writable(self) -> bool:
        """As in TextIOWrapper."""
        return True

    def write(self, text: str) -> int:
        """Shows the text or drops it, with what its encoding lacks as escapes."""
        data = text.encode(self.encoding, "backslashreplace")
        with self._writing:
            try:
                while data:
                    if not self._is_ready():
                        self._drop(f"nobody has read it for {self._patience:.0f} s")
                        break
                    try:
                        data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
                    except BlockingIOError:
                        continue
            except OSError as error:
                self._drop(str(error))
                if error.errno in _FOR_GOOD:
                    self._divert()
        return len(text)

    def flush(self) -> None:
        """Nothing waits to be written."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _is_ready(self) -> bool:
        seconds = 0 if self._is_stalled else self._patience
        ready = select.select([], [self._fd], [], seconds)[1]
        self._is_stalled = not ready
        return bool(ready)

    def _drop(self, why: str) -> None:
        if not self._is_noted:
            self._is_noted = True
            name = "stdout" if self._fd == 1 else "stderr"
            _note(f"{name}: {why}; the work goes on, what cannot be shown is dropped")

    def _divert(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._fd)
        os.close(nowhere)


def guard() -> None:
    """Makes stdout and stderr an Output. Descriptors that were closed lead to /dev/null, so that no file that is
    opened later gets their number, and with it what libraries log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(nowhere, number)
                os.close(nowhere)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        elif stream is not getattr(sys, f"__{name}__"):  # a test or a notebook has its own
            continue
        else:
            _flush(stream)
        setattr(sys, name, Output(stream, PATIENCE_SECONDS if number == 2 else None))


def keep_notes(take_note: Callable[[str], None]) -> None:
    """`take_note` gets a line for each stream whose text is dropped, those of before included; it may not block."""
    global _take_note
    with _lock:
        _take_note = take_note
        waiting = [*_notes]
        _notes.clear()
    for line in waiting:
        take_note(line)


def _note(line: str) -> None:
    with _lock:
        take_note = _take_note
        if take_note is None:
            _notes.append(line)
    if take_note is not None:
        take_note(line)


def _flush(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
