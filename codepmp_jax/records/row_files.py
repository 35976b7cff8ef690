"""Files of rows: JSON lines or a JSON array, gzipped or not, and Parquet; a file or a folder of them.

`.jsonl` holds lines. `.json` and `.txt` hold an array where they begin with `[`, and else lines.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import gzip
import io
import itertools
import json
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files.json_window import CHUNK, JsonWindow

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
# Endings under which benchmarks and others publish rows too.
ALL_ENDINGS = (*ENDINGS, ".json", ".json.gz", ".txt", ".txt.gz")
_ROWS_AT_A_TIME = 1024


class MalformedRow(ValueError):
    """A row that cannot be what it should be; `reason` is what such rows are counted under."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a file."""

    number: int
    """Line of a file of lines, row of a Parquet file or an array; from 1."""
    value: Any
    """What the row holds; a MalformedRow where it could not even be read."""
    raw: Any
    """What goes into the rejects file."""
    position: int
    """Bytes of the file read so far, about."""


def find_files(path: str, endings: tuple[str, ...] = ENDINGS) -> list[pathlib.Path]:
    """The file, or the files of a folder that have one of the endings, in the order of their names."""
    root = pathlib.Path(path)
    if not path or not root.exists():
        raise UserError(f"input = {path!r}: no such file or folder. Remedy: give --input.")
    files = [root] if root.is_file() else sorted(file for file in root.iterdir() if file.is_file())
    files = [file for file in files if file.name.endswith(endings)]
    if not files:
        raise UserError(
            f"input = {path!r}: no file that ends in {', '.join(endings)}. Remedy: give such a file, or "
            "the folder that holds them."
        )
    return files


def names_not_read(path: str, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """What lies in a folder beside the files of `find_files`, sorted; folders, which end in /, are not entered."""
    root = pathlib.Path(path)
    if not root.is_dir():
        return []
    read = find_files(path, endings)
    return sorted(
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in root.iterdir()
        if entry not in read
    )


def read_rows(path: pathlib.Path) -> Iterator[Row]:
    """The rows of a file. Raises UserError naming it where it cannot be read on."""
    number = 0
    try:
        for row in _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path):
            number = row.number
            yield row
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        raise UserError(
            f"{path}: cannot be read after row {number} ({error}). Remedy: copy or make it again."
        ) from error


def _json_rows(path: pathlib.Path) -> Iterator[Row]:
    """The rows of lines or of an array."""
    with contextlib.ExitStack() as stack:
        file = stream = stack.enter_context(open(path, "rb"))
        if path.suffix == ".gz":
            unzipped = stack.enter_context(gzip.open(file))
            buffered = io.BufferedReader(cast(io.RawIOBase, unzipped))
            stream = cast(io.BufferedReader, stack.enter_context(buffered))
        is_lines = path.name.endswith((".jsonl", ".jsonl.gz")) or not _is_array(stream)
        yield from (_line_rows if is_lines else _array_rows)(stream, file.tell)


def _is_array(stream: io.BufferedReader[Any]) -> bool:
    return stream.peek(CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _line_rows(stream: io.BufferedReader[Any], position: Callable[[], int]) -> Iterator[Row]:
    """Lines of JSON; empty lines hold no row."""
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        raw = None
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            raw = value = json.loads(text, object_pairs_hook=_object)
        except MalformedRow as error:
            value = error
        except UnicodeDecodeError as error:
            value = MalformedRow("row is not UTF-8", str(error))
        except (ValueError, RecursionError) as error:
            value = MalformedRow("row is not JSON", str(error))
        if isinstance(value, MalformedRow):
            raw = line.decode("utf-8", errors="replace")
        yield Row(number, value, raw, position())


def _array_rows(stream: io.BufferedReader[Any], position: Callable[[], int]) -> Iterator[Row]:
    """The elements of an array. Raises ValueError where it is no JSON: the next element cannot be found.

    Memory: the longest element, and a chunk.
    """
    window = JsonWindow(stream)
    _next_mark(window)
    window.start += 1
    mark = "" if _next_mark(window) == "]" else ","
    number = 0
    while mark == ",":
        number += 1
        value, raw = _next_value(window)
        yield Row(number, value, raw, position())
        mark = _next_mark(window)
        if mark not in (",", "]"):
            raise ValueError(f"behind a row stands {mark!r}, not a comma or ]")
        window.start += 1


def _next_mark(window: JsonWindow) -> str:
    """The next character behind white space, to which it goes; empty at the end of the stream."""
    while True:
        window.start = _BLANK.match(window.text, window.start).end()  # type: ignore[union-attr]
        if window.start < len(window.text) or not window.fill():
            return window.text[window.start : window.start + 1]


def _next_value(window: JsonWindow) -> tuple[Any, Any]:
    """The next value, behind which it goes: a MalformedRow where it has two entries of one name, and as it is."""
    _next_mark(window)
    while True:
        try:
            raw, end = _DECODER.raw_decode(window.text, window.start)
        except RecursionError as error:
            raise ValueError(str(error)) from error
        except ValueError:
            if not window.fill():
                raise
            continue
        # A number at the end of the window may go on behind it.
        if end == len(window.text) and window.fill():
            continue
        try:
            value, _ = _CHECKED_DECODER.raw_decode(window.text, window.start)
        except MalformedRow as error:
            value = error
        window.start = end
        return value, raw


def _object(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of two entries of one name, Python's parser would drop the first."""
    found = dict(entries)
    if len(found) < len(entries):
        names = [name for name, _ in entries]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedRow("row has two entries of one name", twice)
    return found


_BLANK = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_CHECKED_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _parquet_rows(path: pathlib.Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        size, num_rows = path.stat().st_size, file.metadata.num_rows
        for number, row in enumerate(rows, start=1):
            yield Row(number, row, row, size * number // num_rows)
