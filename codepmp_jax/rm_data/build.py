"""Rows -> entries by problem -> pairs -> split by problem -> PreferencePair shards.

    1   rows become entries, which go to one of 256 buckets on disk by a hash of their problem and the seed (gather.py)
    2   a bucket at a time, its problems in the order of their hashes: pairs (pairing.py), and clusters of paraphrases
    3   the split (split.py); the pairs of each side are written as shards, in the order of their problems

The result does not depend on the order of the rows, apart from the row that the lineage names where several hold the
same. Memory: one bucket (1/256 of the rows' texts on average, and at least the longest problem with its answers and
pairs), what waits for `Buckets` (64 MiB), and what `split.Clusters` says of itself for each problem; of rewards, all.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import itertools
import json
import pathlib
import shutil
import time
from collections.abc import Generator
from typing import IO, Any

import numpy as np
from jaxtyping import Bool

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import RmDataConfig, presets
from codepmp_jax.files import output as outputs
from codepmp_jax.files.buckets import Buckets
from codepmp_jax.files.json_files import write_json
from codepmp_jax.files.resume import describe_difference
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.rm_data.entries import Entry, find_source, plain
from codepmp_jax.rm_data.gather import BUCKETS, gather
from codepmp_jax.rm_data.inputs import open_inputs
from codepmp_jax.rm_data.pairing import pairs_of
from codepmp_jax.rm_data.split import Clusters, cluster_facts, clusters_with, hold_out
from codepmp_jax.rm_data.tally import Split, Tally
from codepmp_jax.text.decontamination import Decontaminator

REPORT = "report.json"
REJECTS = "rejects.jsonl"
_COMMAND = "rm-data"
_STAGING = "rm-data.partial"
# In the folder of staged files: the names of those that were moved out of it, until the manifest has them.
_PUBLISHED = "published"

CONTAMINATED = "holds a benchmark's item"
OF_HELDOUT = "problem of the held-out input, or a paraphrase of one"
BEYOND = "beyond max_pairs"
BEYOND_HELDOUT = "beyond max_heldout_pairs"


def build(config: RmDataConfig) -> dict[str, Any]:
    """Writes shards, manifest, report.json and, with `skip_bad`, rejects.jsonl; returns the report.

    Nothing appears before all is written. A folder that these settings have finished is left as it is. Raises UserError
    where an input cannot be read, naming file, line and reason of a malformed row, where a split would be empty, and where
    the folder holds something else; StoreError where it cannot be written.
    """
    started = time.monotonic()
    inputs = open_inputs(config, find_source(config.source))
    made_by = {"command": _COMMAND, "config": _settings(config)}
    made_by["inputs"] = [one.facts() for one in inputs]
    with outputs.folder(config.output) as output:
        staging = output / _STAGING
        _take_back(staging, output)
        if _is_finished(output, made_by):
            return json.loads((output / REPORT).read_text(encoding="utf-8"))
        staging.mkdir()
        try:
            builder = _Builder(config, staging, any(one.is_heldout for one in inputs))
            gather(config, inputs, builder.buckets, builder.tally, staging / REJECTS)
            builder.pair()
            written = builder.write()
            report = {
                "config": presets.to_json(config),
                "inputs": made_by["inputs"],
                **builder.report(),
                "seconds": round(time.monotonic() - started, 3),
            }
            write_json(staging / REPORT, report)
            _publish(written, staging, output)
            dropped = report["dropped"]
            shards.write_manifest(output, PreferencePair, written, made_by, dropped=dropped)
            (staging / _PUBLISHED).unlink()
        finally:
            _take_back(staging, output)
    return report


def _settings(config: RmDataConfig) -> dict[str, Any]:
    """What the result depends on, beside the rows."""
    settings = presets.to_json(config)
    del settings["output"]
    return settings


def _is_finished(output: pathlib.Path, made_by: dict[str, Any]) -> bool:
    """Whether the folder holds what these settings make. Raises UserError where it holds another dataset."""
    if not (output / shards.MANIFEST).is_file():
        if any(output.glob("*.array_record-*")):
            raise UserError(
                f"output = {str(output)!r}: holds shards, and no manifest. Remedy: give another --output, or remove them."
            )
        return False
    before = shards.read_manifest(output, PreferencePair)["made_by"]
    now = json.loads(json.dumps(made_by))
    if before == now:
        return True
    command = before.get("command", "another command")
    other = "of other rows or with other settings"
    if command == _COMMAND:
        other += f" ({describe_difference(_numbered(before), _numbered(now))})"
    raise UserError(
        f"output = {str(output)!r}: holds pairs that {command} made {other}. Remedy: give another --output, or remove "
        "it."
    )


def _numbered(made_by: dict[str, Any]) -> dict[str, Any]:
    """With the inputs by their numbers, so that each of their facts is an entry."""
    return made_by | {
        "inputs": {str(number): facts for number, facts in enumerate(made_by["inputs"])}
    }


def _take_back(staging: pathlib.Path, output: pathlib.Path) -> None:
    """Removes what a run left that did not come to its manifest."""
    published = staging / _PUBLISHED
    for name in published.read_text(encoding="utf-8").split("\n") if published.is_file() else ():
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)


def _publish(
    written: dict[str, list[shards.Shard]], staging: pathlib.Path, output: pathlib.Path
) -> None:
    """Moves shards and reports out of the staging folder, and notes their names before."""
    names = [name for split in written.values() for shard in split for name in _files_of(shard)]
    names += [name for name in (REJECTS, REPORT) if (staging / name).is_file()]
    (staging / _PUBLISHED).write_text("\n".join(names), encoding="utf-8")
    for name in names:
        (staging / name).replace(output / name)


def _files_of(shard: shards.Shard) -> tuple[str, str]:
    return shard.name, f"{shard.name}.json"


class _Builder:
    """Steps 2 and 3, and what the steps hand on."""

    def __init__(self, config: RmDataConfig, staging: pathlib.Path, has_heldout_input: bool):
        self._config = config
        self._staging = staging
        self._has_heldout_input = has_heldout_input
        self._decontaminator = Decontaminator(config.decontamination)
        self.buckets = Buckets(staging / "buckets")
        self._clusters = Clusters(config.paraphrases)
        self._spill = staging / "pairs"
        # Of each problem that has pairs: how many, and whether it comes from the held-out input.
        self._num_pairs = array.array("Q")
        self._is_given = array.array("B")
        self._cluster_facts: dict[str, int] = {}
        self.tally = Tally()

    # --- 2: entries to pairs ----------------------------------------------------------------------

    def pair(self) -> None:
        """Spills the pairs of each problem, and finds its paraphrases."""
        with open(self._spill, "wb") as spill:
            for bucket in progress(BUCKETS, desc="pair", unit="bucket"):
                rows = self.buckets.read(bucket)
                for _, group in itertools.groupby(rows, lambda row: row[0]):
                    entries = [Entry.from_bytes(record) for _, record in group]
                    self._pair_problem(entries, spill)
        shutil.rmtree(self._staging / "buckets")

    def _pair_problem(self, entries: list[Entry], spill: IO[bytes]) -> None:
        dropped = self.tally.dropped
        is_heldout = any(entry.is_heldout for entry in entries)
        if is_heldout and not all(entry.is_heldout for entry in entries):
            dropped.rows[OF_HELDOUT] += sum(not entry.is_heldout for entry in entries)
            entries = [entry for entry in entries if entry.is_heldout]
        text = min(entry.problem_text() for entry in entries)
        if not is_heldout:
            match = self._decontaminator.match(text)
            if match is not None:
                self.tally.add_match(match, "problems", text)
                dropped.problems[CONTAMINATED] += 1
                return
            entries = self._without_contamination(entries)
        pairs = pairs_of(entries, self._config, dropped) if entries else []
        if not entries:
            dropped.problems[CONTAMINATED] += 1
        # A problem of the held-out input has no part in train, whatever its answers are.
        if not pairs and not is_heldout:
            return
        self._clusters.add(text)
        self._num_pairs.append(len(pairs))
        self._is_given.append(is_heldout)
        for pair in pairs:
            record = pair.to_bytes()
            spill.write(len(record).to_bytes(4, "little") + record)

    def _without_contamination(self, entries: list[Entry]) -> list[Entry]:
        """The entries without the answers that hold a benchmark's item; a pair needs both."""
        kept = []
        for entry in entries:
            answers = []
            for answer in entry.answers:
                match = self._decontaminator.match(plain(answer.text, entry.is_conversation))
                if match is None:
                    answers.append(answer)
                else:
                    self.tally.add_match(match, "answers", answer.text)
                    self.tally.dropped.answers[CONTAMINATED] += 1
            if answers and (len(answers) == len(entry.answers) or not entry.is_pair):
                kept.append(dataclasses.replace(entry, answers=tuple(answers)))
            else:
                self.tally.dropped.rows[CONTAMINATED] += 1
        return kept

    # --- 3: pairs to shards -----------------------------------------------------------------------

    def write(self) -> dict[str, list[shards.Shard]]:
        """Writes the shards of each split that has pairs."""
        sides = self._sides()
        limits = {"train": self._config.max_pairs, "heldout": self._config.max_heldout_pairs}
        beyond = {"train": BEYOND, "heldout": BEYOND_HELDOUT}
        written: dict[str, list[shards.Shard]] = {}
        for split, side in sides.items():
            counts = np.where(side, np.array(self._num_pairs, np.int64), 0)
            total = int(counts.sum())
            limit = limits[split]
            number = total if limit is None else min(total, limit)
            if total > number:
                self.tally.dropped.pairs[beyond[split]] += total - number
            self.tally.splits[split] = Split()
            written[split] = self._write_split(split, counts, number)
        return written

    def _write_split(self, split: str, counts: Any, number: int) -> list[shards.Shard]:
        num_shards = -(-number // self._config.records_per_shard)
        with contextlib.closing(self._pairs(split, counts, number)) as pairs:
            bar = iter(progress(pairs, total=number, desc=f"write {split}", unit="pair"))
            return [
                shards.write_shard(
                    self._staging,
                    shards.shard_name(split, index, num_shards),
                    itertools.islice(bar, self._config.records_per_shard),
                )
                for index in range(num_shards)
            ]

    def _sides(self) -> dict[str, Bool[np.ndarray, " problems"]]:
        """Split -> which problems are its. Raises UserError where one is asked for and has none."""
        roots = self._clusters.roots()
        self._cluster_facts = cluster_facts(roots)
        given = np.array(self._is_given, bool)
        has_pairs = np.array(self._num_pairs, np.int64) > 0
        if self._has_heldout_input:
            heldout = given & has_pairs
            near = clusters_with(roots, given) & ~given
            if near.any():
                self.tally.dropped.problems[OF_HELDOUT] += int(near.sum())
            sides = {"train": ~given & ~near & has_pairs, "heldout": heldout}
        else:
            heldout = hold_out(roots, self._config.heldout_fraction)
            sides = {"train": ~heldout, "heldout": heldout}
            if self._config.heldout_fraction == 0:
                del sides["heldout"]
            if self._config.heldout_fraction == 1:
                del sides["train"]
        self._require_pairs(sides)
        return sides

    def _require_pairs(self, sides: dict[str, Bool[np.ndarray, " problems"]]) -> None:
        empty = [split for split, side in sides.items() if not side.any()]
        if not empty:
            return
        facts = self._cluster_facts
        counts = {
            name: dict(counts) for name, counts in self.tally.dropped._asdict().items() if counts
        }
        if sum(self.tally.malformed.values()):
            counts["malformed rows"] = dict(self.tally.malformed)
        remedy = (
            f"give rows with better and worse answers to a problem (dropped: {counts or 'nothing'})"
        )
        if facts["problems"] > 1 and facts["largest_cluster"] > 1:
            remedy = (
                "raise --paraphrases.threshold, give --paraphrases.no-near, or name the held-out pairs with "
                "--heldout-input"
            )
        elif facts["problems"]:
            remedy = f"give more problems, or another --heldout-fraction (dropped: {counts or 'nothing'})"
        raise UserError(
            f"{_COMMAND}: of {self.tally.rows} rows with {facts['problems']} problems that have pairs, in "
            f"{facts['clusters']} clusters of paraphrases, none falls to the split {' and '.join(empty)}. "
            f"Remedy: {remedy}."
        )

    def _pairs(self, split: str, counts: Any, number: int) -> Generator[PreferencePair]:
        """The first `number` pairs of the problems that have a count, in their order."""
        tally = self.tally.splits[split]
        left = number
        with open(self._spill, "rb") as spill:
            for count, total in zip(counts.tolist(), self._num_pairs, strict=True):
                tally.problems += bool(count and left)
                for _ in range(total):
                    size = int.from_bytes(spill.read(4), "little")
                    if not count or not left:
                        spill.seek(size, 1)
                        continue
                    pair = PreferencePair.from_bytes(spill.read(size))
                    tally.add(pair)
                    left -= 1
                    yield pair
                if not left:
                    return

    def report(self) -> dict[str, Any]:
        """The counts, as JSON."""
        found = self.tally.to_json()
        found["paraphrases"] = self._cluster_facts
        found["decontamination"] = self._decontaminator.settings()
        return found
