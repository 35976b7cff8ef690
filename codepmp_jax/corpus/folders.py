"""A local folder's files, in the order of their paths; what cannot be read is listed with its reason.

No entry ends the walk. Folders that cannot be opened, links that lead nowhere or to a folder (which are not
followed: the folder may hold them), and FIFOs, sockets and devices under the name of a file that would be read come as
entries with a reason. Depth is limited only by the length of a path that the system opens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from codepmp_jax.corpus import checkouts
from codepmp_jax.corpus.files import kind_of


class Entry(NamedTuple):
    """A file, or what is not read."""

    path: str
    checkout: checkouts.Checkout
    size: int = 0
    """In bytes."""
    reason: str = ""
    """Why it is not read; empty for a file."""
    detail: str = ""


def walk(
    root: str,
    checkout: checkouts.Checkout,
    exclude: tuple[str, ...],
    is_wanted: Callable[[str], bool],
) -> Iterator[Entry]:
    """The files whose names are wanted, outside the folders that are excluded by name.

    A folder's files lie where its name stands among its neighbours. `checkout` is that of the root's files.
    """
    skipped = {*exclude, ".git"}
    waiting = [iter([Entry(root, checkout, reason="folder")])]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif entry.reason == "folder":
            waiting.append(_inside(entry, skipped, is_wanted))
        else:
            yield entry


def _inside(folder: Entry, skipped: set[str], is_wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Files and folders (by their reason) in a folder."""
    try:
        with os.scandir(folder.path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        checkout = checkouts.enter(folder.checkout, folder.path, [entry.name for entry in entries])
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's for a loop of links
        yield folder._replace(reason="unreadable", detail=str(error))
        return
    for entry in entries:
        if entry.name in skipped and not entry.is_file(follow_symlinks=False):
            continue
        yield from _judged(entry, checkout, is_wanted)


def _judged(
    entry: os.DirEntry[str], checkout: checkouts.Checkout, is_wanted: Callable[[str], bool]
) -> Iterator[Entry]:
    found = Entry(entry.path, checkout)
    if entry.is_dir(follow_symlinks=False):
        yield found._replace(reason="folder")
        return
    if not entry.is_symlink() and not is_wanted(entry.name):
        return
    try:
        status = entry.stat()
    except OSError as error:  # where a link leads nowhere, its name does not tell what it is
        yield found._replace(reason="unreadable", detail=str(error))
        return
    kind = kind_of(status.st_mode)
    if kind == "a folder":
        yield found._replace(reason="link to a folder", detail="is not followed")
    elif not is_wanted(entry.name):
        return
    elif kind:
        yield found._replace(reason="not a file", detail=f"is {kind}")
    else:
        yield found._replace(size=status.st_size)
