"""What is scored: pairs, or problems with their candidates, and the files that hold them."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.files import storage
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.records import shards
from codepmp_jax.records.pair_rows import REPLIES, Findings, parse_row
from codepmp_jax.records.row_files import MalformedRow, find_files, names_not_read, read_rows
from codepmp_jax.records.schema import PreferencePair, Problem, content_id, read_problems

_logger = logging.getLogger("codepmp_jax")

_OF_PAIRS = {name for names in REPLIES for name in names}
_OF_PROBLEMS = {"problem_id", "candidates"}

Items = Sequence[PreferencePair] | Sequence[Problem]


def read_items(path: str, split: str = "heldout") -> Items:
    """The pairs or problems of a file or folder; which of them it holds is recognised from its content.

    Raises UserError naming file and line where it holds neither, or one that is malformed.
    """
    files = [] if _is_dataset(path) else find_files(_on_disk(path))
    if files and files[0].suffix != ".parquet":
        first = next(read_rows(files[0]), None)
        keys = set(first.value) if first and isinstance(first.value, dict) else set()
        if keys & _OF_PROBLEMS:
            return read_candidates(path)
        require(
            bool(keys & _OF_PAIRS),
            f"{files[0]}: entries of the first row",
            sorted(keys),
            "must be those of a problem (problem_id, prompt, candidates) or of a pair (prompt, chosen, rejected)",
            "give candidates or pairs",
        )
    return read_pairs(path, split)


def read_pairs(path: str, split: str = "heldout") -> list[PreferencePair]:
    """The pairs of a folder of shards (its `split`), or of JSONL or Parquet files, in order; no two ids are equal.

    A row's id is its `pair_id`, or else its `id`. A row without one is named by its content; of several rows
    of the same content the second is CONTENT-2, and so on. Raises UserError naming file and line where a row
    is malformed or an id is not unique, and where there are no pairs.
    """
    lines: dict[str, str] = {}
    copies: dict[str, int] = {}
    pairs = []
    for where, given, pair in _shard_pairs(path, split) if _is_dataset(path) else _row_pairs(path):
        pair_id = given or pair.pair_id
        if given is None:
            copies[pair_id] = copies.get(pair_id, 0) + 1
            if copies[pair_id] > 1:
                pair_id = f"{pair_id}-{copies[pair_id]}"
        if pair_id in lines:
            raise UserError(
                f"{where}: the id {pair_id!r} is not unique, first at {lines[pair_id]}. Remedy: give every "
                "row an id of its own, or leave the ids out."
            )
        lines[pair_id] = where
        pairs.append(dataclasses.replace(pair, pair_id=pair_id))
    require(len(pairs) > 0, "pairs", path, "must hold a pair", "give another file or split")
    return pairs


def read_candidates(path: str) -> list[Problem]:
    """The problems of a candidates file (JSONL), each with at least one candidate, in order.

    Raises UserError naming file and line where a line is malformed or an id is not unique, the problem that has no
    candidates, and the file that holds no problems.
    """
    require(
        pathlib.Path(path).is_file() and not path.endswith(".gz"),
        "candidates",
        path,
        "must be a JSONL file, a problem a line",
        "give the file that launch/candidates.py wrote",
    )
    problems = []
    for problem in read_problems(path):
        texts = [problem.problem_id, problem.prompt, *(c.response for c in problem.candidates)]
        require(
            len(texts) > 2 and all(isinstance(text, str) for text in texts) and texts[0] != "",
            f"{path}: problem",
            problem.problem_id,
            "must have an id, a prompt and at least one candidate, all of them strings",
            "write candidates with launch/candidates.py, or leave the problem out",
        )
        problems.append(problem)
    require(len(problems) > 0, "candidates", path, "must hold a problem", "give another file")
    return problems


def item_id_of(item: PreferencePair | Problem) -> str:
    """pair_id or problem_id."""
    return item.pair_id if isinstance(item, PreferencePair) else item.problem_id


def digest(path: str, split: str = "heldout") -> str:
    """sha256 of a file's bytes; of a folder, of the sha256 of each of its files or of the split's shards."""
    if _is_dataset(path):
        entries = shards.read_manifest(path, PreferencePair)["splits"][split]["shards"]
        parts = [entry["sha256"] for entry in entries]
    else:
        parts = [sha256_of(file) for file in find_files(path)]
    return parts[0] if pathlib.Path(path).is_file() else content_id(*parts)


def _is_dataset(path: str) -> bool:
    return (storage.to_path(path) / shards.MANIFEST).is_file()


def _on_disk(path: str) -> str:
    """The path. Raises UserError where it is in a bucket, of which only folders of shards are read."""
    require(
        not storage.is_bucket(path),
        "input",
        path,
        f"is no folder of shards (it has no {shards.MANIFEST}); other files are read from a disk only",
        "copy it to a disk, or import it (launch/import_pairs.py) and copy the shards to the bucket",
    )
    return path


_Located = Iterator[tuple[str, str | None, PreferencePair]]
"""(location, the given id, the pair named by its content)."""


def _shard_pairs(path: str, split: str) -> _Located:
    dataset = shards.ShardedDataset(path, PreferencePair, split)
    for number, pair in enumerate(dataset):
        yield f"{path}, {split}, record {number}", None, pair


def _row_pairs(path: str) -> _Located:
    """Logs at the end what was read as what, and what was not."""
    findings = Findings()
    for file in find_files(_on_disk(path)):
        for row in read_rows(file):
            where = f"{file}:{row.number}"
            try:
                if isinstance(row.value, MalformedRow):
                    raise row.value
                parsed = parse_row(row.value, {"file": file.name, "row": row.number})
                given = _given_id(row.value)
                findings.add(parsed)
                yield where, given, parsed.pair
            except MalformedRow as error:
                raise UserError(f"{where}: {error}. Remedy: correct the row.") from error
    for name in ("id", "pair_id"):
        findings.columns_not_read.pop(name, None)
    for name in names_not_read(path):
        _logger.warning("%s: not read: %s", path, name)
    for line in findings.lines():
        _logger.warning("%s: %s", path, line)


def _given_id(row: dict[str, Any]) -> str | None:
    for name in ("pair_id", "id"):
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise MalformedRow(f"{name} is neither a string nor an integer", repr(value))
        return str(value)
    return None
