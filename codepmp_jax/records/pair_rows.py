"""Rows of preference pairs in the files of others: JSONL or Parquet, of several formats.

A row is in TRL's preference format (explicit or implicit prompt, strings or messages, optional `margin` and
`subset`), of which RewardBench's is one, or in the CodePMP authors' (`query`, `better`, `worse`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import json
import math
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from codepmp_jax.cli.errors import UserError
from codepmp_jax.records.schema import PreferencePair, content_id

_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
_COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "margin",
    "subset",
    "query",
    "better",
    "worse",
    "pair_id",
    "id",
)
_ROWS_AT_A_TIME = 1024

TextT = TypeVar("TextT", str, list[Any])


class MalformedRow(ValueError):
    """A row that is no preference pair; `reason` is what such rows are counted under."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason


# --- a row ----------------------------------------------------------------------------------------


def extract_prompt(chosen: TextT, rejected: TextT) -> tuple[TextT, TextT, TextT]:
    """(prompt, chosen, rejected) of a pair whose texts both begin with the prompt: TRL's rule.

    The prompt is what they have in common from the start, of strings or of messages; a space before the
    first difference goes to the responses. At least one character or message is left to the shorter one.
    """
    length = min(len(chosen), len(rejected))
    index = next((i for i in range(length) if chosen[i] != rejected[i]), max(length - 1, 0))
    if 0 < index < length and chosen[index] != rejected[index] and chosen[index - 1] == " ":
        index -= 1
    return chosen[:index], chosen[index:], rejected[index:]


def parse_row(row: Any, lineage: dict[str, Any]) -> PreferencePair:
    """The pair in a row. Raises MalformedRow saying why there is none."""
    if not isinstance(row, dict):
        raise MalformedRow("row is no object")
    texts = {name: row.get(name) for name in ("prompt", "chosen", "rejected")}
    if texts["chosen"] is None and texts["rejected"] is None and row.get("query") is not None:
        texts = dict(zip(texts, (row["query"], row.get("better"), row.get("worse")), strict=True))
    prompt, chosen, rejected = (_text(name, value) for name, value in texts.items())
    if chosen is None or rejected is None:
        missing = "chosen" if chosen is None else "rejected"
        raise MalformedRow(f"{missing} is missing")
    if type(chosen) is not type(rejected):
        raise MalformedRow("chosen and rejected are not both strings or both messages")
    if type(prompt) is not type(chosen):
        # As in TRL: a prompt of the other kind beside whole conversations is not used.
        prompt, chosen, rejected = extract_prompt(chosen, rejected)
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not value:
            raise MalformedRow(f"{name} is empty")
    is_conversation = not isinstance(chosen, str)
    if is_conversation:
        prompt, chosen, rejected = (
            json.dumps(value, ensure_ascii=False) for value in (prompt, chosen, rejected)
        )
    subset = row.get("subset") or ""
    if not isinstance(subset, str):
        raise MalformedRow("subset is no string")
    try:
        pair_id = content_id(prompt, chosen, rejected)
        subset.encode()
    except UnicodeEncodeError as error:
        raise MalformedRow("text is no valid Unicode", str(error)) from error
    return PreferencePair(
        pair_id=pair_id,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        is_conversation=is_conversation,
        margin=_margin(row.get("margin")),
        subset=subset,
        lineage=lineage,
    )


def _text(name: str, value: Any) -> Any:
    """A string, a list of {role, content} messages, or None."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise MalformedRow(f"{name} is neither a string nor messages", type(value).__name__)
    messages = []
    for message in value:
        entries = message if isinstance(message, dict) else {}
        if not all(isinstance(entries.get(key), str) for key in ("role", "content")):
            raise MalformedRow(f"{name} has a message without a role and content of strings")
        for key, entry in entries.items():
            if key not in ("role", "content") and entry is not None:
                raise MalformedRow(f"{name} has a message with more than role and content", key)
        messages.append({"role": entries["role"], "content": entries["content"]})
    return messages


def _margin(value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MalformedRow("margin is no finite number", repr(value))
    return float(value)


# --- files of rows --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a file."""

    number: int
    """Line of a JSONL file, row of a Parquet file; from 1."""
    value: Any
    """What the row holds; a MalformedRow where it could not even be read."""
    raw: Any
    """What goes into the rejects file."""
    position: int
    """Bytes of the file read so far, about."""


def find_files(path: str) -> list[pathlib.Path]:
    """The file, or the files of a folder in the order of their names."""
    root = pathlib.Path(path)
    if not path or not root.exists():
        raise UserError(f"input = {path!r}: no such file or folder. Remedy: give --input.")
    files = [root] if root.is_file() else sorted(file for file in root.iterdir() if file.is_file())
    files = [file for file in files if file.name.endswith(_ENDINGS)]
    if not files:
        raise UserError(
            f"input = {path!r}: no file that ends in {', '.join(_ENDINGS)}. Remedy: give such a file, or "
            "the folder that holds them."
        )
    return files


def read_rows(path: pathlib.Path) -> Iterator[Row]:
    """The rows of a file. Raises UserError naming it where it cannot be read on."""
    number = 0
    try:
        for row in _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path):
            number = row.number
            yield row
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UserError(
            f"{path}: cannot be read after row {number} ({error}). Remedy: copy or make it again."
        ) from error


def _json_rows(path: pathlib.Path) -> Iterator[Row]:
    """Lines of JSON; empty lines hold no row."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        lines = stack.enter_context(gzip.open(file)) if path.suffix == ".gz" else file
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            raw = None
            try:
                raw = value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                value = MalformedRow("row is not UTF-8", str(error))
            except (ValueError, RecursionError) as error:
                value = MalformedRow("row is not JSON", str(error))
            if isinstance(value, MalformedRow):
                raw = line.decode("utf-8", errors="replace")
            yield Row(number, value, raw, file.tell())


def _parquet_rows(path: pathlib.Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
        batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=columns)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        size, num_rows = path.stat().st_size, file.metadata.num_rows
        for number, row in enumerate(rows, start=1):
            yield Row(number, row, row, size * number // num_rows)
