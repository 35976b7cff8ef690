"""Tables of source files: Parquet and JSON Lines with the columns of The Stack and StarCoderData.

The Stack: content, lang, max_stars_repo_name, max_stars_repo_path, max_stars_repo_licenses (a list),
max_stars_count.
StarCoderData has no language and no license column: the path or the folder's name gives the language.
"""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq
from pyarrow import fs

from codepmp_jax.corpus.files import File, Rejected, as_text, normalize
from codepmp_jax.text.languages import NOTEBOOK, known_languages, language_name, language_of

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst")

# What a file needs -> the columns that may hold it, the first that is there.
_COLUMNS = {
    "content": ("content",),
    "language": ("lang", "language", "programming_language"),
    "license": ("max_stars_repo_licenses", "licenses", "license", "detected_licenses"),
    "repository": ("max_stars_repo_name", "repository_name", "repo_name", "repository", "repo"),
    "path": ("max_stars_repo_path", "file_path", "path"),
    "stars": ("max_stars_count", "star_events_count", "stars"),
}
_BATCH_ROWS = 64


class Damaged(ValueError):
    """A table is not what its name says, or has no code."""


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table."""
    return name.endswith(ENDINGS)


def is_compressed(name: str) -> bool:
    """Whether a table of lines can be read only from its beginning."""
    return name.endswith((".gz", ".zst"))


def row_group_bytes(filesystem: fs.FileSystem, path: str) -> list[int]:
    """Uncompressed size of every row group of a Parquet file.

    Raises Damaged where it has no content, ArrowException or OSError where it cannot be read.
    """
    with filesystem.open_input_file(path) as file:
        found = pq.ParquetFile(file)
        _columns(found.schema_arrow.names)
        groups = range(found.metadata.num_row_groups)
        return [found.metadata.row_group(group).total_byte_size for group in groups]


def read_parquet(
    filesystem: fs.FileSystem, path: str, name: str, start: int, stop: int, max_bytes: int
) -> Iterator[File | Rejected]:
    """The rows of the row groups start..stop - 1, a batch of pages in memory at a time.

    Raises what `row_group_bytes` raises.
    """
    with filesystem.open_input_file(path) as file:
        found = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        columns = _columns(found.schema_arrow.names)
        row = sum(found.metadata.row_group(group).num_rows for group in range(start))
        batches = found.iter_batches(
            _BATCH_ROWS, row_groups=range(start, stop), columns=sorted(set(columns.values()))
        )
        for batch in batches:
            for values in batch.to_pylist():
                yield _file(values, columns, name, f"{name}:{row}", max_bytes)
                row += 1


def read_lines(
    filesystem: fs.FileSystem, path: str, name: str, start: int, stop: int, max_bytes: int
) -> Iterator[File | Rejected]:
    """The rows that begin in the bytes start..stop - 1 of a JSON Lines file, all of a compressed one.

    Lines that are no JSON object are Rejected. Raises OSError where the file cannot be read, Damaged at a
    row without the column content.
    """
    # An escape takes six bytes for one; the other columns come on top.
    longest = 6 * max_bytes + (1 << 16)
    if is_compressed(path):
        codec = "gzip" if path.endswith(".gz") else "zstd"
        stream = filesystem.open_input_stream(path, compression=codec, buffer_size=1 << 20)
    else:
        stream = filesystem.open_input_file(path)
    with stream, io.BufferedReader(stream, 1 << 16) as file:  # type: ignore[arg-type]
        place = start
        if start:
            file.seek(start - 1)
            place += _skip_line(file) - 1
        while is_compressed(path) or place < stop:
            line = file.readline(longest)
            if not line:
                return
            where = f"{name}:{place}"
            place += len(line)
            if len(line) == longest and not line.endswith(b"\n"):
                place += _skip_line(file)
                yield Rejected(where, "too large", f"line of more than {longest} bytes")
                continue
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise ValueError(f"holds {type(values).__name__}, not an object")
            except (ValueError, RecursionError) as error:
                yield Rejected(where, "damaged", str(error))
                continue
            yield _file(values, _columns(list(values)), name, where, max_bytes)


def _skip_line(file: Any) -> int:
    """Reads up to the end of the line; the bytes read."""
    skipped = 0
    while line := file.readline(1 << 20):
        skipped += len(line)
        if line.endswith(b"\n"):
            break
    return skipped


def _columns(names: Sequence[str]) -> dict[str, str]:
    """What a file needs -> its column. Raises Damaged where there is no content."""
    found = {
        field: next((name for name in candidates if name in names), "")
        for field, candidates in _COLUMNS.items()
    }
    columns = {field: name for field, name in found.items() if name}
    if "content" not in columns:
        raise Damaged(f"has no column `content`; it has {', '.join(map(str, names))}")
    return columns


def _file(
    values: dict[str, Any], columns: dict[str, str], table: str, where: str, max_bytes: int
) -> File | Rejected:
    """A row as a file; `where` it stands names it where it has no path."""

    def text(field: str) -> str:
        value = values.get(columns.get(field, ""))
        return as_text(value) if isinstance(value, str) else ""

    path, repository = text("path") or where, text("repository")
    language = language_name(text("language")) or language_of(path) or _of_folder(table)
    content = values[columns["content"]]
    if isinstance(content, bytes):
        content = content.decode(errors="surrogateescape")
    if not isinstance(content, str):
        return Rejected(path, "no content", type(content).__name__, repository)
    if not language:
        return Rejected(path, "language not known", "", repository)
    if len(content) > max_bytes:
        return Rejected(path, "too large", f"more than {max_bytes} characters", repository)
    # StarCoderData holds notebooks as scripts.
    is_script = language == NOTEBOOK and not content.lstrip().startswith("{")
    found = normalize(content, "" if is_script else language)
    if isinstance(found, Rejected):
        return found._replace(path=path, repository=repository)
    licenses = values.get(columns.get("license", ""))
    licenses = licenses if isinstance(licenses, list) else [licenses]
    names = [as_text(name) for name in licenses if isinstance(name, str) and name]
    stars = values.get(columns.get("stars", ""))
    if not isinstance(stars, int | float) or not 0 <= stars < 2**63:
        stars = -1
    return File(found, language, repository, path, ",".join(names), int(stars))


def _of_folder(table: str) -> str:
    """The language after which the folder of a table is named: `data/python/train-00000.parquet`."""
    folder = posixpath.basename(posixpath.dirname(table)).removeprefix("language=")
    name = language_name(folder)
    return name if name in known_languages() else ""
