"""Stages 2 and 3 of the corpus: the parts become one, without duplicates, and then shards.

Stage 2 goes through the parts in their order and keeps the first of equal and of nearly equal texts. What
is kept goes to a bucket on disk by its id; stage 3 sorts one bucket at a time and writes it as a shard.

Memory: 16 bytes a text that the filters passed, some 60 for a moment while its hashes are sorted (28 M
texts: 0.4 GB, 1.7 GB); what `near_duplicates.NearDuplicates` says of itself for each text kept, where
near-duplicates are searched for; what waits for `Buckets`; one shard.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import pathlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64

from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import parts
from codepmp_jax.corpus.samples import KEPT, Samples, sample_of
from codepmp_jax.files.buckets import Buckets
from codepmp_jax.records import shards
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.text import near_duplicates

SPLITS = ("train", "heldout")
REJECTS = "rejects"


class Tally:
    """Counts of the report, gathered while the parts go by."""

    def __init__(self) -> None:
        self.files = self.characters = self.files_kept = self.texts = 0
        self.files_dropped: collections.Counter[str] = collections.Counter()
        self.texts_dropped: collections.Counter[str] = collections.Counter()
        self.secrets: collections.Counter[str] = collections.Counter()
        self.languages: collections.Counter[str] = collections.Counter()
        self.licenses: collections.Counter[str] = collections.Counter()
        self.described: collections.Counter[bool] = collections.Counter()
        # Language -> reason -> texts and files dropped.
        self.dropped: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.samples = Samples()
        self.splits: dict[str, collections.Counter[str]] = {
            split: collections.Counter() for split in SPLITS
        }

    def keep(self, split: str, row: dict[str, Any], is_new_file: bool) -> None:
        """Counts a text that is kept."""
        self.languages[row["language"]] += 1
        self.licenses[row["license"]] += 1
        self.files_kept += is_new_file
        if row["kind"] != "file":
            self.described[row["num_words"] > 0] += 1
        self.splits[split].update(
            {"files": is_new_file, "texts": 1, row["kind"]: 1, "characters": row["num_chars"]}
        )

    def report(self) -> dict[str, Any]:
        """The counts as JSON; files and texts found are those kept and dropped."""
        dropped = dict(self.files_dropped)
        others = self.files - self.files_kept - self.files_dropped.total()
        if others:
            dropped["every text dropped"] = others
        return {
            "files": {
                "found": self.files,
                "kept": self.files_kept,
                "dropped": dict(sorted(dropped.items())),
                "characters": self.characters,
            },
            "texts": {
                "found": self.texts,
                "kept": sum(split["texts"] for split in self.splits.values()),
                "dropped": dict(sorted(self.texts_dropped.items())),
            },
            "languages": dict(self.languages.most_common()),
            "by_language": {
                language: {
                    "kept": self.languages[language],
                    "dropped": dict(sorted(self.dropped[language].items())),
                }
                for language in sorted({*self.languages, *self.dropped})
            },
            "descriptions": {
                "written": self.described[True],
                "name_only": self.described[False],
                "name_only_share": round(self.described[False] / max(1, self.described.total()), 3),
            },
            "licenses": dict(self.licenses.most_common()),
            "secrets": dict(sorted(self.secrets.items())),
            "splits": {
                name: {
                    "files": split["files"],
                    "texts": split["texts"],
                    "functions": split["function"],
                    "classes": split["class"],
                    "whole_files": split["file"],
                    "characters": split["characters"],
                }
                for name, split in self.splits.items()
            },
        }


class Merge:
    """Stages 2 and 3. Begun anew, it gives the same again."""

    def __init__(self, config: CorpusConfig, work: pathlib.Path, num_parts: int):
        self._config = config
        self._parts = [parts.finished_part(work, index) for index in range(num_parts)]
        self._buckets = Buckets(work / "buckets")
        heldout = config.heldout_fraction
        self._num_shards = {
            "train": config.num_shards,
            "heldout": math.ceil(config.num_shards * heldout / (1 - heldout)),
        }
        self.tally = Tally()

    def dedup(self, output: pathlib.Path) -> None:
        """Stage 2: fills the buckets and the tally, and writes the rejects."""
        ids, first = self._first_of_equals()
        near = (
            near_duplicates.NearDuplicates(self._config.dedup) if self._config.dedup.near else None
        )
        # Texts that `near` remembers, as it numbers them.
        remembered = np.empty(0 if near is None else len(ids), np.uint64)
        num_remembered = place = 0
        with contextlib.ExitStack() as stack:
            files, texts = (
                stack.enter_context(_lines(output / REJECTS / f"{name}.jsonl"))
                for name in ("files", "texts")
            )
            for part in progress(self._parts, desc="dedup", unit="part"):
                self._count(part, files, texts)
                last_file = 0
                for row in self._rows(part):
                    repeats = int(ids[first[place]]) if first[place] != place else None
                    reason = "duplicate"
                    if repeats is None and near is not None:
                        reason = "near-duplicate"
                        index = near.add(row["signature"])
                        if index is None:
                            remembered[num_remembered] = ids[place]
                            num_remembered += 1
                        else:
                            repeats = int(remembered[index])
                    place += 1
                    if repeats is not None:
                        self.tally.texts_dropped[reason] += 1
                        self.tally.dropped[row["language"]][reason] += 1
                        source = SourceFile.from_bytes(row["record"])
                        detail = f"of {repeats:016x}"
                        _write(texts, parts.text_reject(source, reason, detail))
                        self._draw(row, reason, detail)
                        continue
                    self._draw(row, KEPT, "")
                    split = SPLITS[row["is_heldout"]]
                    self.tally.keep(split, row, row["file"] != last_file)
                    last_file = row["file"]
                    self._buckets.add(self._bucket(split, row["id"]), row["id"], row["record"])
        self._buckets.flush()

    def _draw(self, row: dict[str, Any], reason: str, detail: str) -> None:
        """Draws a text for the samples, by its id."""

        def sample() -> dict[str, Any]:
            source = SourceFile.from_bytes(row["record"])
            return sample_of(
                repository=source.repository,
                path=source.path,
                line=source.line,
                name=source.name,
                detail=detail,
                description=source.description,
                content=source.content,
            )

        self.tally.samples.add(row["language"], reason, row["id"].hex(), sample)

    def write_shards(self, output: pathlib.Path) -> dict[str, list[shards.Shard]]:
        """Stage 3: split -> its shards, each a range of ids in their order."""
        names = {
            split: [shards.shard_name(split, i, number) for i in range(number)]
            for split, number in self._num_shards.items()
        }
        with progress(total=sum(map(len, names.values())), desc="write", unit="shard") as bar:
            written = {}
            for split in SPLITS:
                written[split] = []
                for name in names[split]:
                    rows = self._buckets.read(name)
                    records = (SourceFile.from_bytes(record) for _, record in rows)
                    written[split].append(shards.write_shard(output, name, records))
                    bar.update()
        return written

    def _bucket(self, split: str, key: bytes) -> str:
        number = self._num_shards[split]
        index = int.from_bytes(key[:4], "big") * number >> 32
        return shards.shard_name(split, index, number)

    def _count(self, part: pathlib.Path, files: IO[str], texts: IO[str]) -> None:
        """Counts what stage 1 found and dropped in a part, and writes its rejects."""
        entry = json.loads(part.read_text(encoding="utf-8"))
        self.tally.files += entry["files"]
        self.tally.characters += entry["characters"]
        self.tally.texts += entry["texts"]
        self.tally.secrets.update(entry["secrets"])
        for row in entry["rejected_files"]:
            self.tally.files_dropped[row["reason"]] += 1
            self.tally.dropped[row["language"]][row["reason"]] += 1
            _write(files, row)
        for row in entry["rejected_texts"]:
            self.tally.texts_dropped[row["reason"]] += 1
            self.tally.dropped[row["language"]][row["reason"]] += 1
            _write(texts, row)
        self.tally.samples.add_rows(entry["samples"])

    def _rows(self, part: pathlib.Path) -> Iterator[dict[str, Any]]:
        with pa.ipc.open_file(str(part.with_suffix(".arrow"))) as reader:
            for i in range(reader.num_record_batches):
                yield from reader.get_batch(i).to_pylist()

    def _first_of_equals(self) -> tuple[UInt64[np.ndarray, " T"], Int64[np.ndarray, " T"]]:
        """Of every text the first 8 bytes of its id, and the place of the first text that equals it."""
        keys, ids = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for part in self._parts:
            options = pa.ipc.IpcReadOptions(included_fields=[0, 1])
            with pa.ipc.open_file(str(part.with_suffix(".arrow")), options=options) as reader:
                for i in range(reader.num_record_batches):
                    batch = reader.get_batch(i)
                    keys.append(batch["key"].to_numpy())
                    found = b"".join(batch["id"].to_pylist())
                    ids.append(np.frombuffer(found, ">u8")[::2].astype(np.uint64))
        all_ids = np.concatenate(ids)
        # An id never stands twice, though the normalised hashes of equal texts of two languages may differ.
        first = np.minimum(_first_places(np.concatenate(keys)), _first_places(all_ids))
        return all_ids, first


def _first_places(keys: UInt64[np.ndarray, " T"]) -> Int64[np.ndarray, " T"]:
    """For every place the first place of the same key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse]


@contextlib.contextmanager
def _lines(path: pathlib.Path) -> Iterator[IO[str]]:
    """A file of JSON lines that appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        yield file
    partial.replace(path)


def _write(file: IO[str], row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
