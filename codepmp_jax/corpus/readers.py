"""Readers: from a folder, a git checkout or a data set's tables to files of source code.

The input is planned first, as a list of parts that can be read alone and in any order, then read a part at
a time. What cannot be read is yielded as a `Rejected`, with its reason, in the place of the file.

Local paths and `gs://` (or any other URI of pyarrow.fs.FileSystem.from_uri) are read alike; git checkouts
only locally. Memory: a row or a file at a time, a few rows of a Parquet file.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import posixpath
import sysconfig
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import checkouts, tables
from codepmp_jax.corpus.files import File, Rejected, as_text, decode
from codepmp_jax.text.languages import known_languages, language_name, language_of

# A part takes seconds: what a kill costs, and what a process takes at a time.
_PART_FILES = 128
_PART_BYTES = 4 << 20


class Refused(UserError):
    """The input makes no corpus: what was begun for it is of no use."""


class Item(NamedTuple):
    """Something to read: a source file, a stretch of a table, or what could not be opened. JSON values."""

    kind: str
    """`file`, `parquet`, `lines` or `rejected`."""
    path: str
    """Full path, of the input's file system."""
    name: str
    """Path within the repository of a file; within the input else."""
    start: int = 0
    """First row group, or byte."""
    stop: int = 0
    """After the last row group, or byte; 0 for the whole of it."""
    repository: str = ""
    license: str = ""
    detail: str = ""
    """Why it is rejected."""


@dataclasses.dataclass(frozen=True)
class Input:
    """Where the code comes from. Picklable."""

    place: str
    """What the user gave, or the standard library's folder."""
    repository: str
    """Of files outside git checkouts."""
    license: str
    is_single: bool
    """A single table, of which every fault is an error."""

    def open(self) -> tuple[fs.FileSystem, str]:
        """The file system and the path in it. Raises UserError for a URI that cannot be opened."""
        if "://" not in self.place:
            return fs.LocalFileSystem(), self.place
        try:
            return fs.FileSystem.from_uri(self.place)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"input = {self.place!r}: cannot be opened ({error}). Remedy: give a folder, a file or a "
                "gs:// address, and check the credentials."
            ) from error


def open_input(config: CorpusConfig) -> Input:
    """The input that the config names: the interpreter's standard library if none.

    Raises UserError where there is neither a folder nor a table.
    """
    if config.input is None:
        root = sysconfig.get_path("stdlib")
        return Input(root, f"python/cpython@v{platform.python_version()}", "PSF-2.0", False)
    place = config.input.rstrip("/") or "/"
    name = posixpath.basename(place.partition("?")[0])
    opened = Input(place, name, "", False)
    filesystem, path = opened.open()
    try:
        info = filesystem.get_file_info(path)
    except OSError as error:
        raise UserError(
            f"input = {config.input!r}: cannot be read ({error}). Remedy: check address and access."
        ) from error
    if info.type == fs.FileType.Directory:
        if "://" in place:
            return opened
        resolved = pathlib.Path(place).resolve()
        around = checkouts.around(resolved)
        if around is not None:
            return dataclasses.replace(opened, repository=around.repository, license=around.license)
        return dataclasses.replace(
            opened, repository=resolved.name, license=checkouts.license_of(resolved)
        )
    if info.type == fs.FileType.NotFound:
        raise UserError(
            f"input = {config.input!r}: is not there. Remedy: give a folder of source files, or a "
            f"file that ends in {', '.join(tables.ENDINGS)}."
        )
    if not tables.is_table(path):
        raise UserError(
            f"input = {config.input!r}: is neither a folder nor a table. Remedy: give a folder of source "
            f"files, or a file that ends in {', '.join(tables.ENDINGS)}."
        )
    return dataclasses.replace(opened, is_single=True)


def plan(source: Input, config: CorpusConfig) -> Iterator[list[Item]]:
    """The input's parts, each a list of items in the order of their paths.

    A folder's source files are those of `config.languages`. Tables are read outside git checkouts only: in
    one, they are the project's data. Raises Refused for a single table that cannot be opened.
    """
    part: list[Item] = []
    files = size = 0
    for item, weight in _items(source, config):
        if part and (files >= _PART_FILES or size + weight > _PART_BYTES):
            yield part
            part, files, size = [], 0, 0
        part.append(item)
        files += item.kind == "file"
        size += weight
    if part:
        yield part


def read(items: Iterable[Item], source: Input, config: CorpusConfig) -> Iterator[File | Rejected]:
    """The files of a part. Raises Refused where a single table turns out to be damaged."""
    filesystem, _ = source.open()
    wanted = frozenset(map(language_name, config.languages))
    for item in items:
        if item.kind == "file":
            yield _with_license(_read_file(filesystem, item, config.max_file_bytes))
        elif item.kind == "rejected":
            yield Rejected(as_text(item.name), "unreadable", item.detail)
        else:
            for row in _read_table(filesystem, item, source, config.max_file_bytes):
                if isinstance(row, File) and wanted and row.language not in wanted:
                    row = Rejected(row.path, "other language", row.language, row.repository)
                yield _with_license(row)


def _with_license(found: File | Rejected) -> File | Rejected:
    """The file under the license that it states itself, where it does."""
    stated = checkouts.of_file(found.content) if isinstance(found, File) else ""
    return found._replace(license=stated) if isinstance(found, File) and stated else found


def _read_table(
    filesystem: fs.FileSystem, item: Item, source: Input, max_bytes: int
) -> Iterator[File | Rejected]:
    reader = tables.read_parquet if item.kind == "parquet" else tables.read_lines
    name = as_text(item.name)
    try:
        yield from reader(filesystem, item.path, name, item.start, item.stop, max_bytes)
    except (pa.ArrowException, OSError, tables.Damaged) as error:
        _require_whole(source, name, error)
        yield Rejected(name, "damaged", _one_line(error))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _require_whole(source: Input, name: str, error: BaseException) -> None:
    if source.is_single:
        raise Refused(
            f"input = {source.place!r}: {name} cannot be read: {_one_line(error)}. Remedy: copy or make "
            "the file again."
        ) from error


# --- planning -------------------------------------------------------------------------------------


def _items(source: Input, config: CorpusConfig) -> Iterator[tuple[Item, int]]:
    """(item, bytes that it is taken for) in the order of the paths."""
    filesystem, root = source.open()
    wanted = frozenset(map(language_name, config.languages or known_languages()))
    if source.is_single:
        size = filesystem.get_file_info(root).size
        yield from _table_items(source, filesystem, root, posixpath.basename(root), size)
    elif "://" in source.place:
        selector = fs.FileSelector(root, recursive=True)
        for info in sorted(
            filesystem.get_file_info(selector), key=lambda info: info.path.split("/")
        ):
            name = info.path.removeprefix(root).lstrip("/")
            if info.type != fs.FileType.File or {*name.split("/")[:-1]} & {*config.exclude, ".git"}:
                continue
            if tables.is_table(name):
                yield from _table_items(source, filesystem, info.path, name, info.size)
            elif language_of(name) in wanted:
                yield (
                    Item("file", info.path, name, 0, 0, source.repository, source.license),
                    info.size,
                )
    else:
        checkout = checkouts.Checkout(root, source.repository, source.license, False)
        yield from _walk(source, filesystem, root, checkout, wanted, config)


def _walk(
    source: Input,
    filesystem: fs.FileSystem,
    folder: str,
    checkout: checkouts.Checkout,
    wanted: frozenset[str],
    config: CorpusConfig,
) -> Iterator[tuple[Item, int]]:
    """Items under a local folder. Links to folders are not followed."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        name = os.path.relpath(folder, source.place)
        yield Item("rejected", folder, name, detail=_one_line(error)), 0
        return
    checkout = checkouts.enter(checkout, folder, [entry.name for entry in entries])
    for entry in entries:
        if entry.is_dir():
            if entry.name not in config.exclude and entry.name != ".git" and not entry.is_symlink():
                yield from _walk(source, filesystem, entry.path, checkout, wanted, config)
        elif tables.is_table(entry.name) and not checkout.is_git:
            name = os.path.relpath(entry.path, source.place)
            try:
                size = entry.stat().st_size
            except OSError as error:
                yield Item("rejected", entry.path, name, detail=_one_line(error)), 0
            else:
                yield from _table_items(source, filesystem, entry.path, name, size)
        elif language_of(entry.name) in wanted:
            name = pathlib.Path(entry.path).relative_to(checkout.root).as_posix()
            item = Item("file", entry.path, name, 0, 0, checkout.repository, checkout.license)
            yield item, 0


def _table_items(
    source: Input, filesystem: fs.FileSystem, path: str, name: str, size: int
) -> Iterator[tuple[Item, int]]:
    """The stretches of a table: its row groups, its bytes; a compressed file is one stretch."""
    if not path.endswith(".parquet"):
        whole = not tables.is_compressed(path)
        for start in range(0, size, _PART_BYTES) if whole else [0]:
            stop = min(start + _PART_BYTES, size) if whole else 0
            yield Item("lines", path, name, start, stop), (stop - start if whole else _PART_BYTES)
        return
    try:
        sizes = tables.row_group_bytes(filesystem, path)
    except (pa.ArrowException, OSError, tables.Damaged) as error:
        _require_whole(source, name, error)
        yield Item("rejected", path, name, detail=_one_line(error)), 0
        return
    start = weight = 0
    for group, num_bytes in enumerate(sizes):
        if group > start and weight + num_bytes > _PART_BYTES:
            yield Item("parquet", path, name, start, group), weight
            start, weight = group, 0
        weight += num_bytes
    if sizes:
        yield Item("parquet", path, name, start, len(sizes)), weight


# --- reading --------------------------------------------------------------------------------------


def _read_file(filesystem: fs.FileSystem, item: Item, max_bytes: int) -> File | Rejected:
    name = as_text(item.name)
    language = language_of(item.path)
    assert language is not None
    try:
        # pyarrow opens no local file whose name is no text.
        is_local = isinstance(filesystem, fs.LocalFileSystem)
        with open(item.path, "rb") if is_local else filesystem.open_input_stream(item.path) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        return Rejected(name, "unreadable", _one_line(error), item.repository)
    found = decode(data, language, max_bytes)
    if isinstance(found, Rejected):
        return found._replace(path=name, repository=item.repository)
    return File(found, language, item.repository, name, item.license)
