"""A file of source code as the readers give it, and the way from its bytes to its text."""

from __future__ import annotations

import io
import os
import re
import stat
import tokenize
from typing import NamedTuple

from codepmp_jax.corpus import charsets, notebooks
from codepmp_jax.text.languages import NOTEBOOK

# What a notebook may measure with its outputs, in the limit for its code.
NOTEBOOK_FACTOR = 32

# The lines of an unfinished merge, in this order.
_CONFLICT = [
    re.compile(sign, re.MULTILINE) for sign in (r"^<{7}(?: .*)?$", r"^={7}$", r"^>{7}(?: .*)?$")
]
_POINTER = "version https://git-lfs.github.com/spec/"
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class File(NamedTuple):
    """A file of source code."""

    content: str
    """Its text, lines ending in newlines; of a notebook the code cells."""
    language: str
    repository: str
    path: str
    """Path within the repository."""
    license: str
    """SPDX expression, or several joined by commas; `unknown` where it is not clear, empty where nothing is said."""
    stars: int = -1
    """Stars of the repository; -1 where they are not known."""


class Rejected(NamedTuple):
    """A file that gives no text."""

    path: str
    reason: str
    detail: str = ""
    repository: str = ""


def as_text(name: str) -> str:
    """A name without surrogates; bytes and escapes that are no text become `?`."""
    return name.encode(errors="replace").decode()


def kind_of(mode: int) -> str:
    """What stat's mode says that a path is; empty for a file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a file")


def open_local(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a file of this machine without waiting. Raises OSError, too where it is a FIFO, socket or device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind:
        os.close(descriptor)
        raise OSError(f"is {kind}, not a file")
    return os.fdopen(descriptor, "rb")


def largest(language: str | None, max_bytes: int) -> int:
    """Bytes to read of a file whose text may have `max_bytes`: notebooks have outputs on top."""
    return max_bytes * NOTEBOOK_FACTOR if language == NOTEBOOK else max_bytes


def decode(data: bytes, language: str, max_bytes: int) -> str | Rejected:
    """The text of a file, by the rules of `charsets`; Python's as Python reads it, by PEP 263 alone.

    `data` may be cut behind `largest(language, max_bytes)`. The Rejected's path is empty.
    """
    if len(data) > largest(language, max_bytes):
        return Rejected("", "too large", f"more than {largest(language, max_bytes)} bytes")
    try:
        if language == "python":
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            text = data.decode(encoding)
        else:
            text = charsets.decode(data)
    except (SyntaxError, UnicodeDecodeError, charsets.Undecodable) as error:
        return Rejected("", "undecodable", str(error))
    return normalize(text, language, max_bytes)


def normalize(text: str, language: str, max_size: int) -> str | Rejected:
    """The text with plain newlines; a notebook's code cells. The Rejected's path is empty.

    Rejects what is no text (NULs, surrogates), what an unfinished merge or Git LFS left, and a notebook with
    more than `max_size` characters of code.
    """
    if text.startswith(_POINTER):
        return Rejected("", "git lfs pointer", "the file itself is not here: git lfs pull")
    try:
        if language == NOTEBOOK:
            text = notebooks.code_cells(text)
            if len(text) > max_size:
                return Rejected("", "too large", f"code cells of more than {max_size} characters")
        text.encode()
    except UnicodeEncodeError as error:
        return Rejected("", "undecodable", str(error))
    except notebooks.NotANotebook as error:
        return Rejected("", "no notebook", str(error))
    if "\0" in text:
        return Rejected("", "undecodable", "holds NULs: is binary")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "<<<<<<<" in text and _has_conflict(text):
        return Rejected("", "merge conflict", "lines <<<<<<<, ======= and >>>>>>>")
    return text


def _has_conflict(text: str) -> bool:
    place = 0
    for line in _CONFLICT:
        found = line.search(text, place)
        if found is None:
            return False
        place = found.end()
    return True
