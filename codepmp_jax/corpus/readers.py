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
import stat
import sysconfig
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import checkouts, folders, json_tables, tables
from codepmp_jax.corpus.files import File, Rejected, as_text, decode, kind_of, largest, open_local
from codepmp_jax.text.languages import known_languages, language_name, language_of
from codepmp_jax.text.shared_types import language_of_text, possible_languages

# A part takes seconds: what a kill costs, and what a process takes at a time.
_PART_FILES = 128
_PART_BYTES = 4 << 20
# How the addresses of Hugging Face's data sets go on behind the server's name.
_DATA_SETS = "datasets/"


class Refused(UserError):
    """The input makes no corpus: what was begun for it is of no use."""


class Item(NamedTuple):
    """Something to read: a source file, a stretch of a table, or what could not be opened. JSON values."""

    kind: str
    """`file`, `parquet`, `lines` or `array` (of JSON), or `rejected`."""
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
    reason: str = ""
    """Why it is rejected, in a word."""
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Input:
    """Where the code comes from. Picklable."""

    place: str
    """What the user gave, or the standard library's folder."""
    repository: str
    """Of files outside git checkouts."""
    license: str
    is_single: bool
    """A single table, which must open."""

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
    opened = Input(place, as_text(name), "", False)
    shown = as_text(config.input)
    mode = _mode(opened)
    if stat.S_ISDIR(mode):
        if "://" in place:
            return opened
        resolved = pathlib.Path(place).resolve()
        around = checkouts.around(resolved)
        if around is not None:
            return dataclasses.replace(opened, repository=around.repository, license=around.license)
        return dataclasses.replace(
            opened, repository=as_text(resolved.name), license=checkouts.license_of(resolved)
        )
    if kind_of(mode):
        raise UserError(
            f"input = {shown!r}: is {kind_of(mode)}, not a file. Remedy: write its content to a file that "
            f"ends in {', '.join(tables.ENDINGS)}, and give that."
        )
    if not tables.is_table(place.partition("?")[0]):
        raise UserError(
            f"input = {shown!r}: is neither a folder nor a table. Remedy: give a folder of source "
            f"files, or a file that ends in {', '.join(tables.ENDINGS)}."
        )
    return dataclasses.replace(opened, is_single=True)


def _mode(source: Input) -> int:
    """What the input is, as stat's mode says it. Raises UserError where it is not there or cannot be read."""
    shown = as_text(source.place)
    try:
        if "://" not in source.place:
            return os.stat(source.place).st_mode
        filesystem, path = source.open()
        found = filesystem.get_file_info(path).type
        if found == fs.FileType.NotFound:
            raise FileNotFoundError
        return stat.S_IFDIR if found == fs.FileType.Directory else stat.S_IFREG
    except FileNotFoundError as error:
        raise UserError(
            f"input = {shown!r}: is not there. Remedy: give a folder of source files, or a "
            f"file that ends in {', '.join(tables.ENDINGS)}."
        ) from error
    except OSError as error:
        raise UserError(
            f"input = {shown!r}: cannot be read ({error}). Remedy: check address and access."
        ) from error


def plan(source: Input, config: CorpusConfig) -> Iterator[list[Item]]:
    """The input's parts, each a list of items in the order of their paths.

    A folder's source files are those that may be in `config.languages`, by their names. Tables are read outside
    git checkouts, and in those of a data set on Hugging Face: in others they are the project's data. Raises Refused
    for a single table that cannot be opened, and where nothing can be.
    """
    part: list[Item] = []
    files = size = 0
    rejected: list[Item] = []
    is_readable = False
    for item, weight in _items(source, config):
        is_readable |= item.kind != "rejected"
        if not is_readable:
            rejected.append(item)
        if part and (files >= _PART_FILES or size + weight > _PART_BYTES):
            yield part
            part, files, size = [], 0, 0
        part.append(item)
        files += item.kind in ("file", "rejected")
        size += weight
    if rejected and not is_readable:
        shown = "; ".join(f"{as_text(item.name)}: {item.detail}" for item in rejected[:3])
        more = f" and {len(rejected) - 3} more" if len(rejected) > 3 else ""
        raise Refused(
            f"input = {source.place!r}: nothing in it can be read: {shown}{more}. Remedy: "
            "give an input with files of --languages, or tables with a column `content`."
        )
    if part:
        yield part


def read(items: Iterable[Item], source: Input, config: CorpusConfig) -> Iterator[File | Rejected]:
    """The files of a part; what gives no file is Rejected."""
    filesystem, _ = source.open()
    wanted = frozenset(map(language_name, config.languages))
    for item in items:
        for row in _read_item(filesystem, item, config.max_file_bytes):
            if isinstance(row, File) and not _is_wanted(row.language, item.kind, wanted):
                row = Rejected(row.path, "other language", row.language, row.repository)
            yield _with_license(row)


def _with_license(found: File | Rejected) -> File | Rejected:
    """The file under the license that it states itself, where it does."""
    stated = checkouts.of_file(found.content) if isinstance(found, File) else ""
    return found._replace(license=stated) if isinstance(found, File) and stated else found


def _is_wanted(language: str, kind: str, wanted: frozenset[str]) -> bool:
    """Whether a language is one of `wanted`; without any, what a file's name tells, and all that a table says."""
    return language in (wanted or known_languages()) or (kind != "file" and not wanted)


def _read_item(filesystem: fs.FileSystem, item: Item, max_bytes: int) -> Iterator[File | Rejected]:
    name = as_text(item.name)
    if item.kind == "file":
        yield _read_file(filesystem, item, max_bytes)
        return
    if item.kind == "rejected":
        yield Rejected(name, item.reason, as_text(item.detail), as_text(item.repository))
        return
    try:
        if item.kind == "array":
            yield from json_tables.read_array(filesystem, item.path, name, max_bytes)
        else:
            reader = tables.read_parquet if item.kind == "parquet" else json_tables.read_lines
            yield from reader(filesystem, item.path, name, item.start, item.stop, max_bytes)
    except (pa.ArrowException, OSError, tables.Damaged) as error:
        place = f" from {item.start}" if item.start else ""
        yield Rejected(f"{name}{place}", "damaged", _one_line(error))


def _one_line(error: BaseException) -> str:
    return as_text(" ".join(str(error).split())[:300])


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
            item = Item("file", info.path, name, 0, 0, source.repository, source.license)
            yield from _file_items(source, filesystem, item, name, info.size, True, wanted)
    else:
        yield from _local_items(source, filesystem, root, wanted, config)


def _local_items(
    source: Input,
    filesystem: fs.FileSystem,
    root: str,
    wanted: frozenset[str],
    config: CorpusConfig,
) -> Iterator[tuple[Item, int]]:
    around = checkouts.Checkout(root, source.repository, source.license, False)

    def may_be_read(name: str) -> bool:
        return tables.is_table(name) or bool(possible_languages(name) & wanted)

    for entry in folders.walk(root, around, config.exclude, may_be_read):
        checkout = entry.checkout
        # Paths begin with the folder that they were found in.
        name = entry.path[len(root) :].lstrip("/") or "."
        within = entry.path[len(checkout.root) :].lstrip("/")
        if entry.reason:
            item = Item("rejected", entry.path, name, reason=entry.reason, detail=entry.detail)
            yield item._replace(repository=checkout.repository if checkout.is_git else ""), 0
            continue
        item = Item("file", entry.path, within, 0, 0, checkout.repository, checkout.license)
        has_tables = not checkout.is_git or checkout.repository.startswith(_DATA_SETS)
        yield from _file_items(source, filesystem, item, name, entry.size, has_tables, wanted)


def _file_items(
    source: Input,
    filesystem: fs.FileSystem,
    item: Item,
    name: str,
    size: int,
    has_tables: bool,
    wanted: frozenset[str],
) -> Iterator[tuple[Item, int]]:
    """What a file is read as: the stretches of a table of the `name`, source code, or nothing."""
    weight = size if "://" in source.place else 0
    if has_tables and tables.is_table(name):
        try:
            # `.json` is source code too.
            is_table = not name.endswith(".json") or json_tables.is_table(filesystem, item.path)
        except OSError as error:
            yield Item("rejected", item.path, name, reason="unreadable", detail=_one_line(error)), 0
            return
        if is_table:
            yield from _table_items(source, filesystem, item.path, name, size)
            return
    if possible_languages(name) & wanted:
        yield item, weight


def _table_items(
    source: Input, filesystem: fs.FileSystem, path: str, name: str, size: int
) -> Iterator[tuple[Item, int]]:
    """The stretches of a table: its row groups, its bytes; arrays and compressed files are one stretch."""
    try:
        if not path.endswith(tables.PARQUET):
            if size:
                yield from _json_items(filesystem, path, name, size)
            return
        sizes = tables.row_group_bytes(filesystem, path)
    except (pa.ArrowException, OSError, tables.Damaged) as error:
        if source.is_single:
            remedy = getattr(error, "remedy", "copy or make the file again")
            raise Refused(
                f"input = {source.place!r}: {name} cannot be read: {_one_line(error)}. Remedy: {remedy}."
            ) from error
        yield Item("rejected", path, name, reason="unreadable", detail=_one_line(error)), 0
        return
    start = weight = 0
    for group, num_bytes in enumerate(sizes):
        if group > start and weight + num_bytes > _PART_BYTES:
            yield Item("parquet", path, name, start, group), weight
            start, weight = group, 0
        weight += num_bytes
    if sizes:
        yield Item("parquet", path, name, start, len(sizes)), weight


def _json_items(
    filesystem: fs.FileSystem, path: str, name: str, size: int
) -> Iterator[tuple[Item, int]]:
    if json_tables.kind_of(filesystem, path) == "array":
        yield Item("array", path, name), size
    elif tables.is_compressed(path):
        yield Item("lines", path, name), _PART_BYTES
    else:
        for start in range(0, size, _PART_BYTES):
            stop = min(start + _PART_BYTES, size)
            yield Item("lines", path, name, start, stop), stop - start


# --- reading --------------------------------------------------------------------------------------


def _read_file(filesystem: fs.FileSystem, item: Item, max_bytes: int) -> File | Rejected:
    name, repository = as_text(item.name), as_text(item.repository)
    by_name = language_of(item.path) or ""
    try:
        # pyarrow opens no local file whose name is no text.
        is_local = isinstance(filesystem, fs.LocalFileSystem)
        with open_local(item.path) if is_local else filesystem.open_input_stream(item.path) as file:
            data = file.read(largest(by_name, max_bytes) + 1)
    except OSError as error:
        return Rejected(name, "unreadable", _one_line(error), repository)
    found = decode(data, by_name, max_bytes)
    if isinstance(found, Rejected):
        return found._replace(path=name, repository=repository)
    language = language_of_text(item.path, found) or by_name
    return File(found, language, repository, name, item.license)
