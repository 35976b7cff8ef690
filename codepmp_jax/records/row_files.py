"""Files of rows: JSONL, gzipped or not, and Parquet, a file or a folder of them."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import json
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codepmp_jax.cli.errors import UserError

_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
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
    """Line of a JSONL file, row of a Parquet file; from 1."""
    value: Any
    """What the row holds; a MalformedRow where it could not even be read."""
    raw: Any
    """What goes into the rejects file."""
    position: int
    """Bytes of the file read so far, about."""


def find_files(path: str) -> list[pathlib.Path]:
    """The file, or the files of a folder in the order of their names."""
    root = pathlib.Path(path)
    if not path or not root.exists():
        raise UserError(f"input = {path!r}: no such file or folder. Remedy: give --input.")
    files = [root] if root.is_file() else sorted(file for file in root.iterdir() if file.is_file())
    files = [file for file in files if file.name.endswith(_ENDINGS)]
    if not files:
        raise UserError(
            f"input = {path!r}: no file that ends in {', '.join(_ENDINGS)}. Remedy: give such a file, or "
            "the folder that holds them."
        )
    return files


def names_not_read(path: str) -> list[str]:
    """What lies in a folder beside the files of `find_files`, sorted; folders, which end in /, are not entered."""
    root = pathlib.Path(path)
    if not root.is_dir():
        return []
    read = find_files(path)
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
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UserError(
            f"{path}: cannot be read after row {number} ({error}). Remedy: copy or make it again."
        ) from error


def _json_rows(path: pathlib.Path) -> Iterator[Row]:
    """Lines of JSON; empty lines hold no row."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        lines = stack.enter_context(gzip.open(file)) if path.suffix == ".gz" else file
        for number, line in enumerate(lines, start=1):
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
            yield Row(number, value, raw, file.tell())


def _object(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of two entries of one name, Python's parser would drop the first."""
    found = dict(entries)
    if len(found) < len(entries):
        names = [name for name, _ in entries]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedRow("row has two entries of one name", twice)
    return found


def _parquet_rows(path: pathlib.Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        size, num_rows = path.stat().st_size, file.metadata.num_rows
        for number, row in enumerate(rows, start=1):
            yield Row(number, row, row, size * number // num_rows)
