"""Preference pairs of others into shards, and shards into files that others open.

Rows are read in TRL's preference format (explicit or implicit prompt, strings or messages, optional
`margin` and `subset`) or in the CodePMP authors' (`query`, `better`, `worse`), and written in TRL's with
explicit prompt. Both directions stream: no more than a group of rows is in memory.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gzip
import itertools
import json
import math
import pathlib
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from codepmp_jax import presets, shards
from codepmp_jax.config import ExportConfig, ImportConfig
from codepmp_jax.errors import UserError, require
from codepmp_jax.progress import progress
from codepmp_jax.records import PreferencePair, content_id

_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
_COLUMNS = (
    *("prompt", "chosen", "rejected", "margin", "subset"),
    *("query", "better", "worse"),
)
_ROWS_AT_A_TIME = 1024
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

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
        *(pair_id, prompt, chosen, rejected, is_conversation),
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
class _Row:
    """A row of a file."""

    number: int
    """Line of a JSONL file, row of a Parquet file; from 1."""
    value: Any
    """What the row holds; a MalformedRow where it could not even be read."""
    raw: Any
    """What goes into the rejects file."""
    position: int
    """Bytes of the file read so far, about."""


def _find_files(path: str) -> list[pathlib.Path]:
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


def _read_rows(path: pathlib.Path) -> Iterator[_Row]:
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


def _json_rows(path: pathlib.Path) -> Iterator[_Row]:
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
            yield _Row(number, value, raw, file.tell())


def _parquet_rows(path: pathlib.Path) -> Iterator[_Row]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
        batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=columns)
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        size, num_rows = path.stat().st_size, file.metadata.num_rows
        for number, row in enumerate(rows, start=1):
            yield _Row(number, row, row, size * number // num_rows)


# --- import ---------------------------------------------------------------------------------------


def import_pairs(config: ImportConfig) -> dict[str, Any]:
    """Writes the split's shards, adds it to the manifest and to report.json; returns its report.

    A malformed row raises UserError naming file, line (or row) and reason; with `skip_bad` it goes to
    rejects.jsonl and is counted by reason. Nothing of the split appears before all of it is written.
    """
    started = time.monotonic()
    files = _find_files(config.input)
    output = pathlib.Path(config.output)
    manifest = _manifest_before(output, config.split)
    # Shards are named after their number, which is known at the end only.
    staging = output / f"{config.split}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    rejected: collections.Counter[str] = collections.Counter()
    written: list[shards.Shard] = []
    try:
        pairs = _pairs(files, config, staging / "rejects.jsonl", rejected)
        for first in pairs:
            rest = itertools.islice(pairs, config.records_per_shard - 1)
            name = shards.shard_name(config.split, len(written), 0)
            written.append(shards.write_shard(staging, name, itertools.chain([first], rest)))
        if not written:
            raise UserError(
                f"input = {config.input!r}: holds no pair ({sum(rejected.values())} malformed rows). "
                "Remedy: give files with prompt, chosen and rejected."
            )
        written = _publish(written, config.split, staging, output)
        if rejected:
            _append(staging / "rejects.jsonl", output / "rejects.jsonl")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    report = {
        "config": presets.to_json(config),
        "files": [file.name for file in files],
        "pairs": sum(shard.num_records for shard in written),
        "shards": len(written),
        "rejected": dict(sorted(rejected.items())),
    }
    _write_manifest(output, manifest, config, written, report)
    report["seconds"] = round(time.monotonic() - started, 3)
    path = output / "report.json"
    reports = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    reports["imports"] = reports.get("imports", {}) | {config.split: report}
    shards.write_json(path, reports)
    return report


def _manifest_before(output: pathlib.Path, split: str) -> dict[str, Any] | None:
    """The manifest that the split is added to. Raises UserError where the split is already there."""
    manifest = None
    if (output / shards.MANIFEST).is_file():
        manifest = shards.read_manifest(output, PreferencePair)
    if (manifest and split in manifest["splits"]) or any(output.glob(f"{split}.array_record-*")):
        raise UserError(
            f"output = {str(output)!r}: already has shards of a split {split!r}. Remedy: give another "
            "--output or another --split, or remove them first."
        )
    return manifest


def _pairs(
    files: list[pathlib.Path],
    config: ImportConfig,
    rejects: pathlib.Path,
    rejected: collections.Counter[str],
) -> Iterator[PreferencePair]:
    """The pairs of all files, in order; counts malformed rows in `rejected` and keeps them."""
    sizes = [file.stat().st_size for file in files]
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            progress(total=sum(sizes), desc="import", unit="B", unit_scale=True)
        )
        rejects_file = stack.enter_context(open(rejects, "w", encoding="utf-8"))
        for file, before in zip(files, itertools.accumulate(sizes, initial=0), strict=False):
            for row in _read_rows(file):
                bar.update(before + row.position - bar.n)
                try:
                    if isinstance(row.value, MalformedRow):
                        raise row.value
                    yield parse_row(row.value, {"file": file.name, "row": row.number})
                except MalformedRow as error:
                    if not config.skip_bad:
                        raise UserError(
                            f"{file}:{row.number}: {error}. Remedy: correct the row, or give --skip-bad "
                            "to set malformed rows aside."
                        ) from error
                    rejected[error.reason] += 1
                    entry = {"split": config.split, "file": file.name, "line": row.number}
                    entry |= {"reason": str(error), "row": row.raw}
                    rejects_file.write(json.dumps(entry, default=str) + "\n")


def _publish(
    staged: list[shards.Shard], split: str, staging: pathlib.Path, output: pathlib.Path
) -> list[shards.Shard]:
    """Moves the shards to their final names."""
    published = []
    for i, shard in enumerate(staged):
        name = shards.shard_name(split, i, len(staged))
        (staging / shard.name).replace(output / name)
        published.append(dataclasses.replace(shard, name=name))
        shards.write_json(output / f"{name}.json", dataclasses.asdict(published[-1]))
    return published


def _append(source: pathlib.Path, target: pathlib.Path) -> None:
    """Adds the source's lines to the target, so that the target is whole at any time."""
    partial = target.with_name(target.name + ".partial")
    with open(partial, "wb") as file:
        for path in (target, source):
            if path.is_file():
                with open(path, "rb") as lines:
                    shutil.copyfileobj(lines, file)
    partial.replace(target)


def _write_manifest(
    output: pathlib.Path,
    before: dict[str, Any] | None,
    config: ImportConfig,
    written: list[shards.Shard],
    report: dict[str, Any],
) -> None:
    """The manifest with the new split; what it said before stays."""
    facts = dict(before or {})
    for name in ("record", "schema_version", "codepmp_jax"):
        facts.pop(name, None)
    splits = {
        split: [shards.Shard(**entry) for entry in entries["shards"]]
        for split, entries in facts.pop("splits", {}).items()
    }
    made_by = facts.pop("made_by", {"command": "import_pairs", "config": report["config"]})
    facts["imports"] = facts.get("imports", {}) | {config.split: dict(report)}
    shards.write_manifest(
        output, PreferencePair, splits | {config.split: written}, made_by, **facts
    )


# --- export ---------------------------------------------------------------------------------------


def export_pairs(config: ExportConfig) -> int:
    """Writes the split as TRL's preference format with explicit prompt; returns the number of pairs.

    Columns: prompt, chosen and rejected (strings, or messages where the pairs are conversations), margin,
    subset, pair_id and lineage (JSON). Raises UserError where a split mixes strings and conversations.
    """
    output = pathlib.Path(config.output)
    writers: dict[str, Callable[..., Any]] = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    require(
        output.suffix in writers,
        "output",
        config.output,
        "must end in .jsonl or .parquet",
        "the ending says the format",
    )
    dataset = shards.ShardedDataset(config.input, PreferencePair, config.split)
    if len(dataset) == 0:
        raise UserError(f"{dataset!r}: nothing to export. Remedy: give another input or split.")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    try:
        writers[output.suffix](partial, _rows_of(dataset), dataset[0].is_conversation)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return len(dataset)


def _rows_of(dataset: shards.ShardedDataset) -> Iterator[dict[str, Any]]:
    is_conversation = dataset[0].is_conversation
    for pair in progress(dataset, total=len(dataset), desc="export", unit="pair"):
        if pair.is_conversation != is_conversation:
            raise UserError(
                f"{dataset!r}: pair {pair.pair_id} is {'' if pair.is_conversation else 'not '}a "
                "conversation, unlike those before it, and a TRL dataset holds one kind. Remedy: import "
                "the two kinds into separate folders."
            )
        texts = (pair.prompt, pair.chosen, pair.rejected)
        prompt, chosen, rejected = map(json.loads, texts) if is_conversation else texts
        yield {
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
            "margin": pair.margin,
            "subset": pair.subset,
            "pair_id": pair.pair_id,
            # Text, since pairs of different origin have different facts, which no column type holds.
            "lineage": json.dumps(pair.lineage, ensure_ascii=False),
        }


def _write_jsonl(path: pathlib.Path, rows: Iterator[dict[str, Any]], is_conversation: bool) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(
    path: pathlib.Path, rows: Iterator[dict[str, Any]], is_conversation: bool
) -> None:
    text = _MESSAGES if is_conversation else pa.string()
    columns = [("prompt", text), ("chosen", text), ("rejected", text)]
    columns += [("margin", pa.float32())]
    columns += [(name, pa.string()) for name in ("subset", "pair_id", "lineage")]
    schema = pa.schema(columns)
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(rows, _ROWS_AT_A_TIME)):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema))
