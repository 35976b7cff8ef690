"""Rows of a file that others published: JSON lines, a JSON list, or Parquet."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import zlib
from typing import Any

from codepmp_jax.cli.errors import UserError


def read_bytes(path: pathlib.Path, setting: str) -> bytes:
    """A file's bytes. Raises UserError naming the setting that the path comes from."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{setting}: {path}: cannot be read ({error.strerror}). Remedy: give the path of a "
            "benchmark's file."
        ) from error


def parse_rows(data: bytes, path: pathlib.Path, setting: str) -> list[dict[str, Any]]:
    """Rows of a Parquet file, of a JSON list (or one object), or of JSON lines; by content, gzipped or not.

    Raises UserError naming `setting` and `path` where the bytes are nothing of this.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        if data[:4] == b"PAR1":
            return pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        try:
            parsed = json.loads(text)
            rows = parsed if isinstance(parsed, list) else [parsed]
        except json.JSONDecodeError:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
        raise UserError(
            f"{setting}: {path}: neither JSON (lines or a list, gzipped or not) nor Parquet ({error}). "
            "Remedy: download it again."
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(
            f"{setting}: {path}: holds something that is no JSON object. Remedy: give a file of one "
            "object an item."
        )
    return rows
