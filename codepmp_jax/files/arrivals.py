"""Bytes that this process has read in long reads: their growth is a sign of life where nothing else shows any."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_total = 0


def arrived(num_bytes: int) -> None:
    """Counts bytes that have been read, in whatever thread."""
    global _total
    with _lock:
        _total += num_bytes


def total() -> int:
    """How many there were so far."""
    return _total
