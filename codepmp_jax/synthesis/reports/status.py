"""How far a pass is: workers write it down, the command that started them shows it.

Workers may run on other machines: all that they share with the command is the output folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
from typing import Any

from codepmp_jax.cli.progress import progress
from codepmp_jax.files.json_files import write_json

_FOLDER = "status"
_ENTRIES = {"command", "worker", "sources", "tokens", "seconds", "time"}
_WRITE_SECONDS = 1.0
# A worker that wrote nothing down for so long is not counted as at work.
_STALE_SECONDS = 600


class Status:
    """What one worker has done: OUTPUT/status/WORKER.json, written anew once a second while texts come."""

    def __init__(self, output: str, command: str):
        """`command` is the id of the command that the worker belongs to."""
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self._path = pathlib.Path(output, _FOLDER, f"{self.worker}.json")
        self._command = command
        self._started = time.time()
        self._sources = self._tokens = 0
        self._written = 0.0

    def add(self, num_sources: int, num_tokens: int, is_last: bool = False) -> None:
        """Counts texts that have come; with `is_last`, those of a chunk's end, which are written down at once."""
        self._sources += num_sources
        self._tokens += num_tokens
        now = time.time()
        if now - self._written < _WRITE_SECONDS and not is_last:
            return
        self._written = now
        row = {
            "command": self._command,
            "worker": self.worker,
            "sources": self._sources,
            "tokens": self._tokens,
            "seconds": now - self._started,
            "time": now,
        }
        write_json(self._path, row)


class Board:
    """A progress bar over the sources of a pass, with the tokens/s of each worker and of all.

    Rates and the time that is left are those since this start: what `num_done` counts came before.

    A context manager; `command` is the id that the workers give to their Status.
    """

    def __init__(self, output: str, command: str, title: str, num_sources: int, num_done: int):
        self._folder = pathlib.Path(output, _FOLDER)
        self._command = command
        self._num_done = num_done
        self._bar = progress(
            total=num_sources, initial=num_done, desc=title, unit="source", smoothing=0.0
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._show()
        self._bar.close()
        for row in self._rows():
            if row["command"] == self._command:
                (self._folder / f"{row['worker']}.json").unlink(missing_ok=True)

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self._show()

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for path in sorted(self._folder.glob("*.json")):
            # Another command ended just now, or a machine broke off while it wrote.
            with contextlib.suppress(OSError, ValueError):
                row = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(row, dict) and row.keys() >= _ENTRIES:
                    rows.append(row)
        return rows

    def _show(self) -> None:
        rows = self._rows()
        own = [row for row in rows if row["command"] == self._command]
        done = self._num_done + sum(row["sources"] for row in own)
        rates = describe_rates(rows, self._command, time.time())
        self._bar.set_postfix_str(rates, refresh=False)
        self._bar.update(max(0, done - self._bar.n))


def describe_rates(rows: list[dict[str, Any]], command: str, now: float) -> str:
    """`1,200 tok/s (a 700, b 500)`, and what the workers of other commands add to it.

    `rows` are the contents of status files. Empty where nobody counts tokens.
    """
    live = [row for row in rows if row["tokens"] and now - row["time"] < _STALE_SECONDS]
    rates = {row["worker"]: row["tokens"] / max(row["seconds"], 1e-9) for row in live}
    own = [row["worker"] for row in live if row["command"] == command]
    if not own:
        return ""
    text = f"{sum(rates[worker] for worker in own):,.0f} tok/s"
    if len(own) > 1:
        text += f" ({', '.join(f'{worker} {rates[worker]:,.0f}' for worker in own)})"
    if len(rates) > len(own):
        text += f", all {len(rates)} workers {sum(rates.values()):,.0f}"
    return text
