"""Tables of source files: Parquet, and JSON (json_tables.py), with the columns of published data sets.

Read are The Stack (v1, -dedup, -smol), StarCoderData, CodeParrot's github-code and codeparrot-clean, CodeSearchNet
(its own files and Hugging Face's), CommitPack and The Vault; and any table with the code in a column of `_COLUMNS`.
Where no column gives path, repository or language, the markers in the text (markers.py) and the name of the folder
do. A row that gives no file is Rejected, with the reason and its place; the others are read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from codepmp_jax.corpus import markers
from codepmp_jax.corpus.files import (
    NOTEBOOK_FACTOR,
    File,
    Rejected,
    as_text,
    decode,
    normalize,
    open_local,
)
from codepmp_jax.text.languages import NOTEBOOK, known_languages, language_name, language_of
from codepmp_jax.text.shared_types import language_of_text

PARQUET = ".parquet"
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
COMPRESSED = (".gz", ".zst")
ENDINGS = (PARQUET, *JSON_ENDINGS, *(a + b for a in JSON_ENDINGS for b in COMPRESSED))

# What a file needs -> the columns that may hold it, the first that is there. CodeSearchNet's and The Vault's
# `original_string` has the docstring that their `code` lacks; CommitPack has the file before and after a commit.
_COLUMNS = {
    "content": (
        "content",
        "whole_func_string",
        "original_string",
        "code",
        "func_code_string",
        "new_contents",
    ),
    "language": ("lang", "language", "programming_language"),
    "license": ("max_stars_repo_licenses", "licenses", "license", "detected_licenses"),
    "repository": (
        *("max_stars_repo_name", "repository_name", "repo_name", "repository", "repo", "repos"),
    ),
    "path": (*("max_stars_repo_path", "file_path", "path", "func_path_in_repository", "new_file"),),
    "stars": ("max_stars_count", "star_events_count", "stars"),
}
# Of The Stack v2, which lists files by their ids and holds no text.
_IDS = ("blob_id", "content_id", "src_encoding")
_BATCH_ROWS = 64


class Damaged(ValueError):
    """A table is not what its name says, or has no code."""

    def __init__(self, message: str, remedy: str = "copy or make the file again"):
        super().__init__(message)
        self.remedy = remedy


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table. `.json` may be source code too: see json_tables.is_table."""
    return name.endswith(ENDINGS)


def is_compressed(name: str) -> bool:
    """Whether a table of lines can be read only from its beginning."""
    return name.endswith(COMPRESSED)


def open_table(filesystem: fs.FileSystem, path: str) -> pa.NativeFile:
    """A table's bytes. Raises OSError."""
    try:
        path.encode()
    except UnicodeEncodeError:  # pyarrow opens no file whose name is no text
        return pa.PythonFile(open_local(path), "r")
    return filesystem.open_input_file(path)


def row_group_bytes(filesystem: fs.FileSystem, path: str) -> list[int]:
    """Uncompressed size of every row group of a Parquet file.

    Raises Damaged where it has no content, ArrowException or OSError where it cannot be read.
    """
    with open_table(filesystem, path) as file:
        require_content(file.read(200))
        file.seek(0)
        found = pq.ParquetFile(file)
        columns_of(found.schema_arrow.names)
        groups = range(found.metadata.num_row_groups)
        return [found.metadata.row_group(group).total_byte_size for group in groups]


def read_parquet(
    filesystem: fs.FileSystem, path: str, name: str, start: int, stop: int, max_bytes: int
) -> Iterator[File | Rejected]:
    """The rows of the row groups start..stop - 1, a batch of pages in memory at a time.

    A damaged row group is one Rejected. Raises what `row_group_bytes` raises.
    """
    with open_table(filesystem, path) as file:
        found = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        columns = columns_of(found.schema_arrow.names)
        if stop > found.metadata.num_row_groups:
            raise Damaged("has changed since the input was listed")
        row = sum(found.metadata.row_group(group).num_rows for group in range(start))
        for group in range(start, stop):
            behind = row + found.metadata.row_group(group).num_rows
            batches = found.iter_batches(
                _BATCH_ROWS, row_groups=[group], columns=sorted(set(columns.values()))
            )
            try:
                for batch in batches:
                    for values in _rows(batch):
                        yield to_file(values, columns, name, f"{name}:{row}", max_bytes)
                        row += 1
            except (pa.ArrowException, OSError) as error:
                detail = f"rows {row} to {behind - 1} (row group {group}): {error}"
                yield Rejected(f"{name}:{row}", "damaged", " ".join(detail.split())[:300])
            row = behind


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows, text that is no UTF-8 as bytes."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        columns = {name: _as_binary(batch.column(i)) for i, name in enumerate(batch.schema.names)}
        for row in range(batch.num_rows):
            values = {name: column[row].as_py() for name, column in columns.items()}
            yield {name: _utf8(value) for name, value in values.items()}


def _as_binary(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return column.cast(pa.list_(pa.binary()))
    return column


def _utf8(value: Any) -> Any:
    """Bytes as text where they are UTF-8."""
    if isinstance(value, list):
        return [_utf8(part) for part in value]
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def columns_of(names: Sequence[str]) -> dict[str, str]:
    """What a file needs -> its column. Raises Damaged where there is no content."""
    found = {
        field: next((name for name in candidates if name in names), "")
        for field, candidates in _COLUMNS.items()
    }
    columns = {field: name for field, name in found.items() if name}
    if "content" not in columns:
        listed = ", ".join(map(as_text, map(str, names)))[:200]
        if any(name in names for name in _IDS):
            raise Damaged(
                f"has no column `content`: it lists files by their ids, as The Stack v2 does ({listed})",
                "download the texts from Software Heritage by blob_id, as the data set's card shows, "
                "and give a table with a column `content`",
            )
        raise Damaged(
            f"has no column `content`; it has {listed}",
            "give a table with the code in a column `content`",
        )
    return columns


def require_content(head: bytes) -> None:
    """Raises Damaged where the file's first bytes say that its content is elsewhere."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise Damaged("is a Git LFS pointer, not the table", "run `git lfs pull` in its checkout")


def to_file(
    values: dict[str, Any], columns: dict[str, str], table: str, where: str, max_bytes: int
) -> File | Rejected:
    """A row as a file; `where` it stands names it where it has no path."""

    def text(field: str) -> str:
        value = values.get(columns.get(field, ""))
        return as_text(value) if isinstance(value, str) else ""

    path, repository = text("path"), text("repository")
    content = values.get(columns["content"])
    if isinstance(content, bytes):
        decoded = decode(content, "", max_bytes * NOTEBOOK_FACTOR)
        if isinstance(decoded, Rejected):
            return decoded._replace(path=path or where, repository=repository)
        content = decoded
    if not isinstance(content, str):
        kind = "is null" if content is None else f"holds {type(content).__name__}, not text"
        return Rejected(path or where, "no content", f"`{columns['content']}` {kind}", repository)
    marked = markers.take_off(content)
    path, repository = path or as_text(marked.path), repository or as_text(marked.repository)
    if marked.fault:
        return Rejected(path or where, "no source file", marked.fault, repository)
    written = language_name(text("language")) or ("" if language_of(path) else _of_folder(table))
    language = language_of_text(path, marked.content, written)
    path = path or where
    if not language:
        return Rejected(path, "language not known", "", repository)
    # StarCoderData holds notebooks as scripts, or as cells between markers.
    is_script = language == NOTEBOOK and not marked.content.lstrip().startswith("{")
    if (language != NOTEBOOK or is_script) and len(marked.content) > max_bytes:
        return Rejected(path, "too large", f"more than {max_bytes} characters", repository)
    found = normalize(marked.content, "" if is_script else language, max_bytes)
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
    if folder.startswith("jupyter-"):  # StarCoderData's two folders of notebooks
        return NOTEBOOK
    name = language_name(folder)
    return name if name in known_languages() else ""
