"""What a run tells: log lines and metrics, from process 0 only."""

from __future__ import annotations

import json
import logging
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from google.protobuf.json_format import ParseDict
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from codepmp_jax.chips import chip_of

logger = logging.getLogger("codepmp_jax")


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
    peak = chip_of(jax.devices()[0].device_kind).peak_flops
    return None if peak is None else peak * jax.device_count()


class MetricsWriter:
    """Rows of metrics to metrics.jsonl and TensorBoard; does nothing but on process 0."""

    def __init__(self, workdir: pathlib.Path, step: int):
        """Appends to the rows up to `step`; later ones belong to steps that will be done again."""
        self._file = self._board = None
        if not is_main_process():
            return
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        if path.exists():
            # What follows the last newline is a row that a killed process did not finish.
            lines = path.read_text().split("\n")[:-1]
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            partial = path.with_name(path.name + ".partial")
            partial.write_text("".join(f"{line}\n" for line in kept))
            partial.replace(path)
        self._file = path.open("a")
        self._board = _open_board(workdir / "tensorboard")
        # TensorBoard forgets what an earlier process wrote of the steps from here on.
        self._add(step + 1, session_log={"status": "START"})

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row; it has a `step`, and its other entries are numbers or None."""
        if self._file is None or self._board is None:
            return
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        values = [
            {"tag": name, "simple_value": value}
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        self._add(row["step"], summary={"value": values})

    def _add(self, step: int, **content: dict[str, Any]) -> None:
        assert self._board is not None
        event = {"wall_time": time.time(), "step": step, **content}
        self._board.add_event(ParseDict(event, Event()))

    def close(self) -> None:
        """Flushes both."""
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()


def _open_board(folder: pathlib.Path) -> EventFileWriter:
    """A new file of events. TensorBoard reads files in the order of their names, which begin with the
    second: within the second of the newest one, the order would be that of process numbers."""
    started = {int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")}
    while int(time.time()) in started:
        time.sleep(0.05)
    return EventFileWriter(str(folder))
