"""JSON tables of source files: JSON Lines, and arrays of objects (`[{"content": ...}, ...]`).

Lines can be read in stretches, arrays and compressed files from their beginning only. What is no row (no JSON, no
object, cut off, no content) is Rejected with its place in bytes (characters in an array), and the rest is read.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs

from codepmp_jax.corpus import tables
from codepmp_jax.corpus.files import NOTEBOOK_FACTOR, File, Rejected
from codepmp_jax.files.json_window import JsonWindow
from codepmp_jax.text.languages import language_of

# What is looked at to tell what a file holds.
_HEAD = 1 << 20
# What is lost at most before the place where an archive breaks off.
_BUFFER = 1 << 12
_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")
# Where an array goes on behind what cannot be read.
# In a string the quote has a backslash before it.
_NEXT_ROW = re.compile(r"(?:^[ \t]*|\}\s*,\s*)(?P<row>\{\s*\")", re.MULTILINE)


def kind_of(filesystem: fs.FileSystem, path: str) -> str:
    """`lines` or `array`. Raises tables.Damaged where none of the first rows has content, OSError."""
    head = _head(filesystem, path)
    tables.require_content(head)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise tables.Damaged("is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8")
    first = None
    for row in _first_rows(head):
        if _columns(row):
            break
        first = first or row
    else:
        if first is not None:
            tables.columns_of(list(first))
    return "array" if _body(head).startswith(b"[") else "lines"


def is_table(filesystem: fs.FileSystem, path: str) -> bool:
    """Whether a `.json` file is a table of source files and not source code: a first row has content and language.

    Raises OSError.
    """
    row = next(_first_rows(_head(filesystem, path)), None)
    columns = _columns(row) if row is not None else {}
    if row is None or not columns:
        return False
    place = row.get(columns.get("path", ""))
    return "language" in columns or (isinstance(place, str) and language_of(place) is not None)


def _columns(row: dict[str, Any]) -> dict[str, str]:
    """What a file needs -> its column; empty where there is no content."""
    try:
        return tables.columns_of(list(row))
    except tables.Damaged:
        return {}


def _body(head: bytes) -> bytes:
    return head.removeprefix(codecs.BOM_UTF8).lstrip()


def _first_rows(head: bytes) -> Iterator[dict[str, Any]]:
    """The whole rows at the beginning of a file; of a first row that is longer, its first columns without values."""
    body = _body(head)
    found: Iterator[Any]
    found = _in_array(body) if body.startswith(b"[") else _in_lines(body)
    is_empty = True
    for row in found:
        is_empty = False
        if isinstance(row, dict):
            yield row
    keys = re.findall(rb'[{,]\s*"(\w+)"\s*:', body[:4096])
    if is_empty and len(head) == _HEAD and keys:
        yield dict.fromkeys(key.decode() for key in keys)


def _in_array(body: bytes) -> Iterator[Any]:
    text = body[1:].decode(errors="replace")
    value, place = _next_value(text, 0)
    while value is not None:
        yield value
        value, place = _next_value(text, place)


def _in_lines(body: bytes) -> Iterator[Any]:
    for line in body.split(b"\n"):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue


def _next_value(text: str, place: int) -> tuple[Any, int]:
    """The value that begins behind blanks and commas, and the place behind it; None where it is cut off or broken."""
    place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, place


def _open(filesystem: fs.FileSystem, path: str) -> Any:
    """A stream of the file's text; of a file that is not compressed one that can seek. Raises OSError."""
    file = tables.open_table(filesystem, path)
    if not tables.is_compressed(path):
        return file
    return pa.CompressedInputStream(file, "gzip" if path.endswith(".gz") else "zstd")


def _head(filesystem: fs.FileSystem, path: str) -> bytes:
    """The first bytes; of an archive that breaks off, those before. Raises OSError where there are none."""
    head = b""
    with _open(filesystem, path) as stream:
        while len(head) < _HEAD:
            try:
                data = stream.read(_BUFFER)
            except OSError:
                if head:
                    break
                raise
            if not data:
                break
            head += data
    return head[:_HEAD]


def _longest(max_bytes: int) -> int:
    """Bytes of a row: an escape takes six for one, notebooks have their outputs, other columns come on top."""
    return NOTEBOOK_FACTOR * max_bytes + (1 << 16)


def read_lines(
    filesystem: fs.FileSystem, path: str, name: str, start: int, stop: int, max_bytes: int
) -> Iterator[File | Rejected]:
    """The rows that begin in the bytes start..stop - 1 of a JSON Lines file, all of a compressed one.

    Raises OSError where the file cannot be read, Damaged where it ends before `stop`.
    """
    longest = _longest(max_bytes)
    with _open(filesystem, path) as stream, io.BufferedReader(stream, _BUFFER) as file:
        place = start
        if start:
            file.seek(start - 1)
            place += _skip_line(file) - 1
        while tables.is_compressed(path) or place < stop:
            line = file.readline(longest)
            if not line:
                if place < stop:
                    raise tables.Damaged("has become shorter since the input was listed")
                return
            where = f"{name}:{place}"
            place += len(line)
            if len(line) == longest and not line.endswith(b"\n"):
                place += _skip_line(file)
                yield Rejected(where, "too large", f"line of more than {longest} bytes")
                continue
            if line.strip():
                yield _row(line, name, where, max_bytes)


def _row(line: bytes, name: str, where: str, max_bytes: int) -> File | Rejected:
    try:
        values = json.loads(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as error:
        return Rejected(where, "damaged", str(error)[:300])
    return _to_file(values, name, where, max_bytes)


def _to_file(values: Any, name: str, where: str, max_bytes: int) -> File | Rejected:
    if not isinstance(values, dict):
        return Rejected(where, "damaged", f"holds {type(values).__name__}, not an object")
    try:
        columns = tables.columns_of(list(values))
    except tables.Damaged as error:
        return Rejected(where, "no content", str(error))
    return tables.to_file(values, columns, name, where, max_bytes)


def read_array(
    filesystem: fs.FileSystem, path: str, name: str, max_bytes: int
) -> Iterator[File | Rejected]:
    """The rows of a file that is one JSON array. Memory: the longest row and a chunk. Raises OSError."""
    longest = _longest(max_bytes)
    with _open(filesystem, path) as stream, io.BufferedReader(stream, _BUFFER) as file:
        # Bytes that are no UTF-8 stay recognisable: the row that holds them is rejected.
        window = JsonWindow(file, errors="surrogateescape")
        while "[" not in window.text and window.fill():
            pass
        window.start = window.text.find("[") + 1
        while True:
            window.start = _BETWEEN.match(window.text, window.start).end()  # type: ignore[union-attr]
            where = f"{name}:{window.place}"
            if window.start == len(window.text):
                if window.fill():
                    continue
                yield Rejected(where, "damaged", "the array has no end")
                return
            if window.text[window.start] == "]":
                return
            values, behind = _next_value(window.text, window.start)
            # A number at the end of the window may go on behind it.
            while values is None or behind == len(window.text):
                if len(window.text) - window.start > longest or not window.fill():
                    break
                values, behind = _next_value(window.text, window.start)
            if values is not None:
                window.start = behind
                yield _to_file(values, name, where, max_bytes)
                continue
            yield Rejected(
                where, "damaged", f"is no JSON, cut off, or more than {longest} characters"
            )
            if not _go_to_next_row(window):
                return


def _go_to_next_row(window: JsonWindow) -> bool:
    """Goes to a row behind the window's start; False where there is none."""
    window.start += 1
    while True:
        found = _NEXT_ROW.search(window.text, window.start)
        if found:
            window.start = found.end() - len(found["row"])
            return True
        window.start = max(window.start, len(window.text) - 100)
        if not window.fill():
            return False


def _skip_line(file: Any) -> int:
    """Reads up to the end of the line; the bytes read."""
    skipped = 0
    while line := file.readline(1 << 20):
        skipped += len(line)
        if line.endswith(b"\n"):
            break
    return skipped
