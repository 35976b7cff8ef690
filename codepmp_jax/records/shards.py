"""ArrayRecord shards with a manifest: how one stage hands its records to the next.

A dataset is a folder:

    manifest.json                               what lies here, and how it was made
    dataset_info.json, features.json            the same for TFDS, which reads the folder as it is
    train.array_record-00000-of-00004           records, each a serialized tf.train.Example
    train.array_record-00000-of-00004.json      the shard's entry of the manifest, written after it
    heldout.array_record-00000-of-00001 ...

A shard appears under its name only when it is whole, and the manifest only when all shards have.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

import codepmp_jax
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.files import storage
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.files.json_files import write_json
from codepmp_jax.files.staging import Cache, Source, Staging
from codepmp_jax.records import tfds_info
from codepmp_jax.records.schema import Record, RecordT

MANIFEST = "manifest.json"
# One record a chunk: every record can be read alone, which a global shuffle needs.
_WRITER_OPTIONS = "group_size:1"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard's entry in the manifest."""

    name: str
    num_records: int
    num_bytes: int
    sha256: str


def shard_name(split: str, index: int, num_shards: int) -> str:
    """File name of a shard, in TFDS's pattern."""
    return f"{split}.array_record-{index:05d}-of-{num_shards:05d}"


def write_shard(
    directory: str | os.PathLike[str], name: str, records: Iterable[Record], **counts: Any
) -> Shard:
    """Writes one whole shard and its entry `NAME.json`, atomically, the entry last.

    `counts` are kept in the entry beside the shard's own fields, e.g. drops by reason. Raises StoreError where
    the disk takes no more.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / (name + ".partial")
    with storage.storage_errors(partial, "written"):
        writer = ArrayRecordWriter(str(partial), _WRITER_OPTIONS)
    num_records = 0
    try:
        for record in records:
            data = record.to_bytes()
            with storage.storage_errors(partial, "written"):
                writer.write(data)
            num_records += 1
    except BaseException:
        # The error that counts is the first.
        with contextlib.suppress(RuntimeError):
            writer.close()
        raise
    with storage.storage_errors(partial, "written"):
        writer.close()
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    shard = Shard(name, num_records, partial.stat().st_size, sha256_of(partial))
    partial.replace(directory / name)
    write_json(directory / f"{name}.json", dataclasses.asdict(shard) | counts)
    return shard


def read_shard(path: str | os.PathLike[str], record_type: type[RecordT]) -> list[RecordT]:
    """All records of one whole shard. Raises UserError where it is not what its entry says."""
    path = pathlib.Path(path)
    try:
        entry = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        is_whole = sha256_of(path) == entry["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Remedy: delete it and run the same command again."
        ) from error
    if not is_whole:
        raise UserError(
            f"{path}: is damaged: its bytes are not those of the sha256 in {path.name}.json. Remedy: "
            "delete it and run the same command again."
        )
    reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
    try:
        return [record_type.from_bytes(data) for data in reader.read_all()]
    finally:
        reader.close()


def write_split(
    directory: str | os.PathLike[str], split: str, records: Sequence[Record], num_shards: int
) -> list[Shard]:
    """Writes `records` as consecutive, equally long shards of a split."""
    bounds = [len(records) * i // num_shards for i in range(num_shards + 1)]
    return [
        write_shard(directory, shard_name(split, i, num_shards), records[start:stop])
        for i, (start, stop) in enumerate(itertools.pairwise(bounds))
    ]


def write_manifest(
    directory: str | os.PathLike[str],
    record_type: type[Record],
    splits: dict[str, list[Shard]],
    made_by: dict[str, Any],
    **facts: Any,
) -> None:
    """Writes the manifest, which makes the dataset whole, and before it what TFDS reads.

    `made_by` says how: command, config, input. `facts` are further entries, e.g. drops by reason.
    """
    manifest = {
        "record": record_type.__name__,
        "schema_version": record_type.schema_version,
        "codepmp_jax": codepmp_jax.__version__,
        "made_by": made_by,
        **facts,
        "splits": {
            split: {
                "num_records": sum(shard.num_records for shard in shards),
                "shards": [dataclasses.asdict(shard) for shard in shards],
            }
            for split, shards in splits.items()
        },
    }
    directory = pathlib.Path(directory)
    write_json(directory / tfds_info.FEATURES, tfds_info.features(record_type))
    info = tfds_info.dataset_info(record_type, manifest["splits"])
    write_json(directory / tfds_info.DATASET_INFO, info)
    write_json(directory / MANIFEST, manifest)


def read_manifest(
    directory: str | os.PathLike[str], record_type: type[Record] | None = None
) -> dict[str, Any]:
    """The manifest of a dataset. Raises UserError where there is none or it is of another kind."""
    path = storage.to_path(directory) / MANIFEST
    with storage.storage_errors(path, "read"):
        is_there = path.is_file()
    if not is_there:
        raise UserError(
            f"{path}: no such file. Remedy: give a folder that a finished stage wrote, "
            "or run that stage again to finish it."
        )
    try:
        manifest = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error}). Remedy: make the dataset again.") from error
    if record_type is not None:
        found = (manifest.get("record"), manifest.get("schema_version"))
        wanted = (record_type.__name__, record_type.schema_version)
        if found != wanted:
            raise UserError(
                f"{path}: holds {found[0]} records of schema {found[1]}, but {wanted[0]} records "
                f"of schema {wanted[1]} are read here. Remedy: give another folder, or make the "
                "dataset again with this version."
            )
    return manifest


def find_record_type(
    directory: str | os.PathLike[str], record_types: Sequence[type[Record]]
) -> type[Record]:
    """Which of some types a dataset's records are; the first of them where they are of none, which ShardedDataset then
    says. Raises UserError where there is no manifest."""
    if len(record_types) == 1:
        return record_types[0]
    found = read_manifest(directory).get("record")
    return next((one for one in record_types if one.__name__ == found), record_types[0])


class ShardedDataset(Sequence):
    """The records of one split, by index; a Grain data source. Picklable: workers reopen the files."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        record_type: type[Record],
        split: str,
        verify: bool = True,
        only: int | None = None,
        cache: Cache | None = None,
        in_order: bool = False,
    ):
        """Opens `split` of the dataset in `directory`, or `only` its shard of that number.

        Compares each shard's size with the manifest, and with `verify` its sha256. The shards of a bucket
        are copied to `cache`, and compared there; `in_order` says that they are read one after the other.
        Raises UserError naming the shard that is missing or damaged, or the splits that there are.
        """
        self.directory = storage.to_path(directory)
        self.record_type = record_type
        self.split = split
        splits = read_manifest(directory, record_type)["splits"]
        if split not in splits:
            raise UserError(
                f"{self.directory}: no split {split!r}; it has {', '.join(splits) or 'none'}. Remedy: "
                "import or make that split too (training can do without `heldout`: --eval-pairs 0)."
            )
        entries = splits[split]["shards"]
        chosen = entries if only is None else entries[only : only + 1]
        self.shards = [Shard(**entry) for entry in chosen]
        self._staging = None
        if storage.is_bucket(self.directory):
            cache = cache or Cache(DataConfig.cache, DataConfig.cache_bytes)
            self._check_sizes()
            sources = [
                Source(str(self.directory / shard.name), shard.num_bytes, shard.sha256)
                for shard in self.shards
            ]
            self._staging = Staging(sources, cache, in_order, verify)
        else:
            for shard in self.shards:
                self._check(shard, verify)
        self._ends = list(itertools.accumulate(shard.num_records for shard in self.shards))
        self._readers: dict[int, ArrayRecordReader] = {}

    def _check(self, shard: Shard, verify: bool) -> None:
        path = pathlib.Path(self.directory / shard.name)
        if not path.is_file():
            raise UserError(f"{path}: shard is missing. Remedy: copy or make the dataset again.")
        size = path.stat().st_size
        if size != shard.num_bytes or (verify and sha256_of(path) != shard.sha256):
            raise self._damaged(shard, size)

    def _check_sizes(self) -> None:
        """Of all shards by one listing of the bucket."""
        with storage.storage_errors(self.directory, "read"):
            there = storage.files(self.directory)
        for shard in self.shards:
            if shard.name not in there:
                raise UserError(
                    f"{self.directory / shard.name}: shard is missing. Remedy: copy or make the dataset again."
                )
            if there[shard.name].num_bytes != shard.num_bytes:
                raise self._damaged(shard, there[shard.name].num_bytes)

    def _damaged(self, shard: Shard, size: int) -> UserError:
        return UserError(
            f"{self.directory / shard.name}: shard is damaged: its {size} bytes are not the "
            f"{shard.num_bytes} bytes with sha256 {shard.sha256} of the manifest. Remedy: copy or make the "
            "dataset again."
        )

    def _reader(self, number: int) -> ArrayRecordReader:
        reader = self._readers.get(number)
        if reader is None:
            path = self.directory / self.shards[number].name
            if self._staging is not None:
                path = self._staging.path(number)
                # Not closed: another thread may be reading.
                while len(self._readers) >= self._staging.num_open:
                    self._readers.pop(next(iter(self._readers.copy())), None)
            reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
            self._readers[number] = reader
        return reader

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.directory}: record {index} of {len(self)} in {self.split}")
        number = bisect.bisect_right(self._ends, index)
        shard = self.shards[number]
        offset = index - (self._ends[number] - shard.num_records)
        try:
            (data,) = self._reader(number).read(offset, offset + 1)
            return self.record_type.from_bytes(data)
        except UserError:
            raise
        except (ValueError, IndexError, RuntimeError) as error:
            raise UserError(
                f"{self.directory / shard.name}: shard is damaged at record {offset} ({error}). "
                "Remedy: copy or make the dataset again."
            ) from error

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}}

    def __repr__(self) -> str:
        return f"ShardedDataset({str(self.directory)!r}, {self.split!r}, {len(self)} records)"
