"""Step 1: rows -> entries, apart on disk by a hash of their problem."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from typing import IO

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import RmDataConfig
from codepmp_jax.files.buckets import Buckets
from codepmp_jax.records.row_files import MalformedRow, Row
from codepmp_jax.records.schema import content_id
from codepmp_jax.rm_data.entries import Entry, Reader, Reading, find_source
from codepmp_jax.rm_data.inputs import Input
from codepmp_jax.rm_data.tally import Tally

# By the first byte of a problem's hash.
BUCKETS = [f"{number:02x}" for number in range(256)]

BLANK_ANSWER = "answer is blank"
TOO_LONG = "problem and answer beyond max_chars"


def gather(
    config: RmDataConfig, inputs: list[Input], buckets: Buckets, tally: Tally, rejects: pathlib.Path
) -> None:
    """Puts the entries of all rows into buckets, by a hash of their problem and the seed.

    Malformed rows go to the file `rejects`, which is not there where there are none. Raises UserError naming file, row
    and reason of the first one where the settings do not say `skip_bad`.
    """
    source = find_source(config.source)
    with contextlib.ExitStack() as stack:
        file = None
        if config.skip_bad:
            file = stack.enter_context(open(rejects, "w", encoding="utf-8"))
        for one in inputs:
            reader = source.open(config)
            rows = stack.enter_context(contextlib.closing(one.rows()))
            for where, row in rows:
                tally.rows += 1
                try:
                    reading = _read(row, reader)
                except MalformedRow as error:
                    if file is None:
                        raise UserError(
                            f"{_place(one, where)}:{row.number}: {error}. Remedy: correct the row, give the --source "
                            "that it is of, or give --skip-bad to set malformed rows aside."
                        ) from error
                    tally.malformed[error.reason] += 1
                    _set_aside(file, where, row, error)
                    continue
                entry = _entry_of(reading, tally, config.max_chars)
                if entry is not None:
                    place = (where, row.number)
                    entry = dataclasses.replace(entry, place=place, is_heldout=one.is_heldout)
                    key = _key(entry, config.seed)
                    buckets.add(BUCKETS[key[0]], key, entry.to_bytes())
    buckets.flush()
    if not tally.malformed:
        rejects.unlink(missing_ok=True)


def _read(row: Row, reader: Reader) -> Reading:
    if isinstance(row.value, MalformedRow):
        raise row.value
    if not isinstance(row.value, dict):
        raise MalformedRow("row is no object")
    reading = reader(row.value, row.number)
    if reading.entry is not None:
        _require_unicode(reading.entry)
    return reading


def _require_unicode(entry: Entry) -> None:
    try:
        for text in (entry.prompt, entry.subset, *(answer.text for answer in entry.answers)):
            text.encode()
    except UnicodeEncodeError as error:
        raise MalformedRow("text is no valid Unicode", str(error)) from error


def _set_aside(file: IO[str], where: str, row: Row, error: MalformedRow) -> None:
    entry = {"file": where, "line": row.number, "reason": str(error), "row": row.raw}
    file.write(json.dumps(entry, default=str) + "\n")


def _entry_of(reading: Reading, tally: Tally, max_chars: int | None) -> Entry | None:
    """The entry without blank answers and those that are too long; None where nothing is left. Counts what was read,
    and what was not."""
    tally.columns_not_read.update(reading.not_read)
    tally.remarks.update(reading.remarks)
    tally.dropped.answers.update(reading.dropped)
    entry = reading.entry
    tally.answers += len(reading.dropped) + (len(entry.answers) if entry else 0)
    if entry is None:
        return None
    room = None if max_chars is None else max_chars - len(entry.problem_text())
    reasons = [_why_not(answer.text, room) for answer in entry.answers]
    kept = tuple(a for a, reason in zip(entry.answers, reasons, strict=True) if not reason)
    if len(kept) == len(entry.answers):
        return entry
    tally.dropped.answers.update(filter(None, reasons))
    if not kept or entry.is_pair:
        tally.dropped.rows[next(filter(None, reasons))] += 1
        return None
    return dataclasses.replace(entry, answers=kept)


def _why_not(answer: str, room: int | None) -> str:
    """Why an answer is left out; empty where it is not."""
    if not answer.strip():
        return BLANK_ANSWER
    return TOO_LONG if room is not None and len(answer) > room else ""


def _key(entry: Entry, seed: int) -> bytes:
    """16 bytes, random and the same for problems that differ in case and white space only."""
    words = " ".join(entry.problem_text().casefold().split())
    return bytes.fromhex(content_id(str(seed), words))


def _place(one: Input, where: str) -> str:
    """The path of a file, or the name and split of a data set."""
    is_folder = pathlib.Path(one.place).is_dir()
    return str(pathlib.Path(one.place) / where) if is_folder else one.place if one.files else where
