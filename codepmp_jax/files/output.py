"""Where a command writes: a lock, and errors of the disk as one line.

Two commands with one output work one after the other: the second waits, and then does what it would have done had
it been started later. Locks are for one machine, or a file system that passes flock on.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from codepmp_jax.cli.errors import disk_error, require
from codepmp_jax.files import resume


@contextlib.contextmanager
def errors_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an error of the disk into a StoreError that names `path`, or the file that was read."""
    try:
        yield
    except OSError as error:
        found = disk_error(error, path)
        if found is None:
            raise
        raise found from error


def require_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a folder to write to. Raises UserError where it can be none."""
    folder = _local(path)
    with errors_of(path):
        require(
            folder.is_dir() or not folder.exists(),
            "output",
            os.fspath(path),
            "is a file, and a folder is written",
            "give the path of a folder",
        )
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a file to write, whose folder it makes. Raises UserError where it can be none."""
    file = _local(path)
    with errors_of(path):
        require(
            not file.is_dir(),
            "output",
            os.fspath(path),
            "is a folder, and a file is written",
            "give the path of a file",
        )
        file.parent.mkdir(parents=True, exist_ok=True)
    return file


@contextlib.contextmanager
def folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """The folder that a command writes to, held by it; made where there is none."""
    found = require_folder(path)
    with errors_of(path), resume.hold(found / ".lock"):
        yield found


@contextlib.contextmanager
def file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """The file that a command writes, held by it; its folder is made where there is none."""
    with beside(require_file(path)) as found:
        yield found


@contextlib.contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A path that a command writes beside and gives its name at the end, held by it."""
    found = _local(path)
    with errors_of(path), resume.hold(found.with_name(f".{found.name}.lock")):
        yield found


def _local(path: str | os.PathLike[str]) -> pathlib.Path:
    text = os.fspath(path)
    require(text != "", "output", text, "must be given", "give the path of a file or folder")
    require(
        "://" not in text,
        "output",
        text,
        "is no path on a disk, and this command writes to one",
        "write to a disk, then copy the result",
    )
    return pathlib.Path(text)
