"""One process at a time: a lock beside what it protects, on a disk or in a bucket.

On a disk it is flock, which ends with its process. In a bucket it is an object that names its owner and that the
owner writes anew every BEAT_SECONDS. It is taken over at once from a process of this machine that has ended, and
from another after STALE_SECONDS without a beat.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from typing import IO, Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage

BEAT_SECONDS = 15.0
STALE_SECONDS = 60.0

_logger = logging.getLogger("codepmp_jax")


class Lock:
    """A lock that this process holds from here on, until `release`."""

    def __init__(self, path: str | os.PathLike[str], remedy: str):
        """Raises UserError, with `remedy`, where another process holds it, or it cannot be written."""
        self._path = os.fspath(path)
        self._owner = _this_process()
        self._remedy = remedy
        self._file: IO[str] | None = None
        with storage.storage_errors(path, "written"):
            if storage.is_bucket(path):
                self._object = _Object(self._path, self._owner, self._refuse)
            else:
                self._file = self._hold_file()

    def check(self) -> None:
        """Raises UserError where another process has taken the lock, in the belief that this one had ended."""
        if self._file is None and self._object.taken_by is not None:
            self._refuse(self._object.taken_by)

    def release(self) -> None:
        """Lets others have it."""
        if self._file is None:
            self._object.release()
        elif not self._file.closed:
            self._file.truncate(0)
            self._file.close()

    def _hold_file(self) -> IO[str]:
        path = pathlib.Path(self._path)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            text = file.read()
            file.close()
            self._refuse(json.loads(text) if text else {})
        try:
            file.truncate(0)
            file.write(json.dumps(self._owner))
            file.flush()
        except OSError:
            with contextlib.suppress(
                OSError
            ):  # what is left in the buffer cannot be written either
                file.close()
            raise
        return file

    def _refuse(self, owner: dict[str, Any]) -> None:
        raise UserError(
            f"{self._path}: is held by process {owner.get('pid', 'unknown')} on "
            f"{owner.get('host', 'an unknown host')}. Remedy: {self._remedy}."
        )


class _Object:
    """The lock as an object in a bucket."""

    def __init__(self, path: str, owner: dict[str, Any], refuse: Any):
        self.taken_by: dict[str, Any] | None = None
        self._path = path
        self._text = json.dumps(owner)
        self._bucket, self._name = storage.bucket_and_name(path)
        self._generation = self._write(self._free_generation(refuse))
        if self._generation is None:
            refuse(self._read()[1])
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beats.start()

    def _free_generation(self, refuse: Any) -> int:
        """Generation of the object that may be written over, 0 where there is none."""
        generation, owner = self._read()
        if generation == 0:
            return 0
        is_running = _is_running(owner)
        if is_running is not None:
            if is_running:
                refuse(owner)
            return generation
        _logger.warning(
            "%s: is held by process %s on %s; taken over if it gives no sign of life for %d seconds",
            self._path,
            owner.get("pid"),
            owner.get("host"),
            STALE_SECONDS,
        )
        deadline = time.monotonic() + STALE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(min(1.0, STALE_SECONDS / 10))
            found, owner = self._read()
            if found == 0:
                return 0
            if found != generation:
                refuse(owner)
        return generation

    def _read(self) -> tuple[int, dict[str, Any]]:
        """(generation, owner) of the object; (0, {}) where there is none."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while (blob := self._bucket.get_blob(self._name, **storage.retry_options())) is not None:
            generation = int(blob.generation or 0)
            # Else it was replaced or deleted in between.
            with contextlib.suppress(NotFound, PreconditionFailed):
                text = blob.download_as_bytes(
                    if_generation_match=generation, **storage.retry_options()
                )
                return generation, json.loads(text)
        return 0, {}

    def _write(self, generation: int) -> int | None:
        """Writes over `generation`; the new one, or None where another process came before."""
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._name)
        try:
            blob.upload_from_string(
                self._text, if_generation_match=generation, **storage.retry_options()
            )
            return int(blob.generation or 0)
        except PreconditionFailed:
            # Or the answer to an attempt that had succeeded was lost.
            found, owner = self._read()
            return found if json.dumps(owner) == self._text else None

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                generation = self._write(self._generation or 0)
                if generation is None:
                    self.taken_by = self._read()[1]
                    return
                self._generation = generation
            except Exception as error:  # the next beat tries again
                _logger.warning("%s: no sign of life could be written: %s", self._path, error)

    def release(self) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        self._ended.set()
        self._beats.join()
        # Else it is another's.
        with contextlib.suppress(NotFound, PreconditionFailed):
            blob = self._bucket.blob(self._name)
            blob.delete(if_generation_match=self._generation, **storage.retry_options())


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "id": uuid.uuid4().hex,
    }


def _boot() -> str:
    path = pathlib.Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _start_of(pid: int) -> str | None:
    """When a process of this machine began, in ticks; None where there is none."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _is_running(owner: dict[str, Any]) -> bool | None:
    """Whether the owner, a process of this machine, is; None for one of another machine."""
    if not _boot() or (owner.get("host"), owner.get("boot")) != (socket.gethostname(), _boot()):
        return None
    return _start_of(owner["pid"]) == owner["started"]
