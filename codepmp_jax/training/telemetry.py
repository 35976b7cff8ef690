"""Log lines and metrics of a run, written by process 0 only."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from google.protobuf.json_format import ParseDict
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from codepmp_jax.devices.chips import chip_of_device
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import read_steps, set_aside
from codepmp_jax.training.background import Background

logger = logging.getLogger("codepmp_jax")

# Seconds between two appends to a bucket, but for those by `flush`.
_SEND_EVERY = 60.0


def is_main_process() -> bool:
    """Whether this process writes what a run writes once."""
    return jax.process_index() == 0


def setup_logging() -> None:
    """Log lines with time on stderr; the other processes only warn."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.WARNING)


def peak_flops() -> float | None:
    """Peak bfloat16 FLOP/s of all devices together; None where the device's peak is not known."""
    peak = chip_of_device(jax.devices()[0]).peak_flops
    return None if peak is None else peak * jax.device_count()


class MetricsWriter:
    """Rows of metrics to metrics.jsonl and TensorBoard; does nothing but on process 0.

    They are written in the background: what goes wrong, a later call raises. In a bucket files cannot grow: there, what
    is new is sent every minute and by `flush`.
    """

    def __init__(self, workdir: str | os.PathLike[str], step: int):
        """Appends to the rows up to `step`; later ones belong to steps that will be done again."""
        self._file = self._board = None
        self._background = Background()
        self.last_step = 0
        """The last step that had a row."""
        if not is_main_process():
            return
        self._target = storage.to_path(workdir)
        self._spool = (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            if storage.is_bucket(workdir)
            else None
        )
        self._sent: dict[str, int] = {}
        self._flushed = time.monotonic()
        folder = pathlib.Path(self._spool.name if self._spool else workdir)
        with storage.storage_errors(workdir, "written"):
            folder.mkdir(parents=True, exist_ok=True)
            self._drop_rows_after(step)
            self._file = (folder / "metrics.jsonl").open("a")
            if (self._target / "tensorboard").is_file():
                set_aside(self._target / "tensorboard", "no folder")
            there = storage.files(self._target / "tensorboard")
            self._board = _open_board(folder / "tensorboard", there)
        # TensorBoard forgets what an earlier process wrote of the steps from here on.
        self._add(step + 1, session_log={"status": "START"})

    def _drop_rows_after(self, step: int) -> None:
        path = self._target / "metrics.jsonl"
        if not path.exists():
            return
        if path.is_dir():
            set_aside(path, "a folder")
            return
        rows, unreadable = read_steps(path)
        self.last_step = max((row["step"] for row in rows), default=0)
        kept = "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step)
        if unreadable:
            set_aside(
                path, f"{len(unreadable)} of its lines are no rows, e.g. {unreadable[0][:40]!r}"
            )
        if unreadable or kept.encode() != path.read_bytes():
            storage.write_text(path, kept)

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row, which must not change any more; it has a `step`, and its other entries are numbers or None."""
        if self._file is not None:
            self._background.run(self._write, row)

    def _write(self, row: Mapping[str, Any]) -> None:
        assert self._file is not None
        with storage.storage_errors(self._target / "metrics.jsonl", "written"):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        values = [
            {"tag": name, "simple_value": value}
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        self._add(row["step"], summary={"value": values})
        if self._spool and time.monotonic() - self._flushed > _SEND_EVERY:
            self._flush()

    def flush(self) -> concurrent.futures.Future[Any] | None:
        """Makes the rows outlast this process and its machine, in the background; what says when they do, on process 0."""
        return None if self._file is None else self._background.run(self._flush)

    def _flush(self) -> None:
        assert self._file is not None
        assert self._board is not None
        self._board.flush()
        os.fsync(self._file.fileno())
        if self._spool:
            self._send(pathlib.Path(self._spool.name))
        self._flushed = time.monotonic()

    def _send(self, spool: pathlib.Path) -> None:
        """Appends what is new in each file to its object."""
        with storage.storage_errors(self._target, "written"):
            for path in sorted(path for path in spool.rglob("*") if path.is_file()):
                name = path.relative_to(spool).as_posix()
                with path.open("rb") as file:
                    file.seek(self._sent.get(name, 0))
                    storage.append(self._target / name, file.read())
                    self._sent[name] = file.tell()

    def _add(self, step: int, **content: dict[str, Any]) -> None:
        assert self._board is not None
        event = {"wall_time": time.time(), "step": step, **content}
        self._board.add_event(ParseDict(event, Event()))

    def close(self) -> None:
        """Waits until the rows outlast this process, and closes both."""
        if self._file is None or self._board is None:
            return
        with contextlib.ExitStack() as stack:
            if self._spool:
                stack.callback(self._spool.cleanup)
            stack.callback(self._board.close)
            stack.callback(self._file.close)
            stack.callback(self._background.close)
            self.flush()


def _open_board(folder: pathlib.Path, there: Iterable[str]) -> EventFileWriter:
    """A new file of events next to those `there`. TensorBoard reads files in the order of their names, which
    begin with the second: within the second of the newest one, the order would be that of process numbers."""
    named = (re.match(r"events\.out\.tfevents\.(\d+)\.", name) for name in there)
    started = {int(match[1]) for match in named if match}
    while int(time.time()) in started:
        time.sleep(0.05)
    return EventFileWriter(str(folder))
