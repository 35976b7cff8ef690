"""FOLDER/notes.txt: what whoever looks at a run later should know, a line each with the time."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from codepmp_jax.files import storage


def add(folder: str | os.PathLike[str], line: str, name: str = "notes.txt") -> None:
    """Appends a line to the folder's notes, in the background where they are in a bucket; errors are ignored."""

    def append() -> None:
        with contextlib.suppress(Exception):
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            storage.to_path(folder).mkdir(parents=True, exist_ok=True)
            storage.append(storage.to_path(folder) / name, f"{stamp} {line}\n".encode())

    if storage.is_bucket(folder):
        threading.Thread(target=append, daemon=True).start()
    else:
        append()
