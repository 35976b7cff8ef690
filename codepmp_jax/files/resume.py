"""What lets work be killed and taken up again: one owner at a time, and the same settings."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files.json_files import write_json

SETTINGS = "settings.json"


def claim(directory: str | os.PathLike[str], settings: dict[str, Any], remedy: str) -> None:
    """Writes down the settings that the folder's contents depend on, or compares them with those there.

    Raises UserError that shows the difference, with `remedy`, where the folder was begun with others.
    """
    path = pathlib.Path(directory) / SETTINGS
    settings = json.loads(json.dumps(settings))
    with hold(path.with_name(f".{SETTINGS}.lock")):
        if not path.is_file():
            write_json(path, settings)
            return
        before = json.loads(path.read_text(encoding="utf-8"))
    difference = describe_difference(before, settings)
    if difference:
        raise UserError(
            f"{path.parent}: was begun with other settings: {difference}. Remedy: {remedy}."
        )


def describe_difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """`a.b was 1, is 2; ...` for every entry that differs; empty where none does."""
    old, new = dict(_flatten(before)), dict(_flatten(now))
    absent = object()
    return "; ".join(
        f"{path} was {_show(old, path)}, is {_show(new, path)}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path, absent) != new.get(path, absent)
    )


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        if isinstance(entry, dict) and entry:
            yield from _flatten(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _show(values: dict[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else "absent"


@contextlib.contextmanager
def hold(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock file, which goes at the end; waits while another process holds it. The lock ends with its process.

    Other machines see the lock where their file system passes flock on (NFS 4 and Lustre do, mounted
    buckets do not).
    """
    waited = 0
    while (file := _try_to_hold(path)) is None:
        if waited == 20:
            print(f"waiting for the process that works on {path.parent}", file=sys.stderr)
        waited += 1
        time.sleep(0.1)
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _try_to_hold(path: pathlib.Path) -> IO[str] | None:
    """The lock file, locked; None where another process has it, or has just removed it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "a", encoding="utf-8"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                stack.pop_all()
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
    return None


def end_with_parent() -> None:
    """Ends this process when the one that started it does, also where that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
