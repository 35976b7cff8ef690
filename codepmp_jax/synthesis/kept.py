"""The replies of a chunk as they come, so that a kill, or a server that goes, loses only those in flight.

A line a reply: the Completion, and the seconds since the chunk was begun. Failures are not kept: they are asked for again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import IO

from codepmp_jax.files import storage
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.sampler import Request

# Replies that a crash of the machine, not of the process, may lose.
_SYNC_SECONDS = 1.0


class KeptReplies:
    """The replies to a chunk's requests that are there already, and those that come."""

    def __init__(self, path: pathlib.Path):
        """Reads the file, where there is one, up to a line that a kill has torn."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._found: dict[str, Completion] = {}
        self._seconds = 0.0
        """Spent on the chunk before this start."""
        self._end = 0
        self._started = self._synced = time.monotonic()
        if path.is_file():
            with open(path, "rb") as file:
                for line in file:
                    if not self._read(line):
                        break
                    self._end += len(line)

    def _read(self, line: bytes) -> bool:
        try:
            row = json.loads(line)
            self._seconds = float(row.pop("seconds"))
            completion = Completion(**row)
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        self._found[completion.key] = completion
        return line.endswith(b"\n")

    @property
    def seconds(self) -> float:
        """Spent on the chunk so far, by all who worked on it."""
        return self._seconds + time.monotonic() - self._started

    def of(self, requests: Sequence[Request]) -> dict[str, Completion]:
        """The replies that are there, by their requests' keys."""
        return {
            request.key: self._found[request.key]
            for request in requests
            if request.key in self._found
        }

    def add(self, completion: Completion) -> None:
        """Writes a reply down, unless it is a failure. Raises StoreError where the disk takes no more."""
        if completion.failure:
            return
        row = dataclasses.asdict(completion) | {"seconds": round(self.seconds, 3)}
        with storage.storage_errors(self._path, "written"):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "ab")  # noqa: SIM115
                self._file.truncate(self._end)
            self._file.write(f"{json.dumps(row)}\n".encode())
            self._file.flush()
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self, is_done: bool) -> None:
        """Closes the file, and removes it where the chunk is written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if is_done:
            self._path.unlink(missing_ok=True)


def num_kept(path: pathlib.Path) -> int:
    """Whole lines of a file of replies; 0 where there is none."""
    try:
        with open(path, "rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return 0
