"""Preference pairs of others into shards, and shards into files that others open.

Rows are read as codepmp_jax/records/pair_rows.py says, and written in TRL's preference format with explicit prompt.
Both directions stream: no more than a group of rows is in memory.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ExportConfig, ImportConfig, presets
from codepmp_jax.files import output as outputs
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records import shards
from codepmp_jax.records.pair_rows import Findings, parse_row
from codepmp_jax.records.row_files import MalformedRow, find_files, names_not_read, read_rows
from codepmp_jax.records.schema import PreferencePair

_ROWS_AT_A_TIME = 1024
# In the folder of staged shards: the names that they get, until the manifest has them.
_PUBLISHED = "published"
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

# --- import ---------------------------------------------------------------------------------------


def import_pairs(config: ImportConfig) -> dict[str, Any]:
    """Writes the split's shards, adds it to the manifest and to report.json; returns its report.

    The report counts what was read as what, and names what was not read: columns, and files of a folder. A
    malformed row raises UserError naming file, line (or row) and reason; with `skip_bad` it goes to
    rejects.jsonl and is counted by reason. Nothing of the split appears before all of it is written. Another
    import into the folder waits for this one. Raises StoreError where the folder cannot be written.
    """
    started = time.monotonic()
    files = find_files(config.input)
    with outputs.folder(config.output) as output:
        report = _import(config, files, output)
        report["seconds"] = round(time.monotonic() - started, 3)
        path = output / "report.json"
        reports = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        reports["imports"] = reports.get("imports", {}) | {config.split: report}
        write_json(path, reports)
    return report


def remarks(report: dict[str, Any]) -> list[str]:
    """What a reader of the report has to know, a line each."""
    lines = []
    if report["files_not_read"]:
        lines.append(
            f"not read of {report['config']['input']}: {', '.join(report['files_not_read'])}"
        )
    names = (field.name for field in dataclasses.fields(Findings))
    return lines + Findings(**{name: collections.Counter(report[name]) for name in names}).lines()


def _import(
    config: ImportConfig, files: list[pathlib.Path], output: pathlib.Path
) -> dict[str, Any]:
    """Writes the split and its entry of the manifest; returns its report."""
    # Shards are named after their number, which is known at the end only.
    staging = output / f"{config.split}.partial"
    _take_back(staging, output)
    manifest = _manifest_before(output, config.split)
    staging.mkdir()
    rejected: collections.Counter[str] = collections.Counter()
    findings = Findings()
    staged: list[shards.Shard] = []
    try:
        rows = _pairs(files, config, staging / "rejects.jsonl", rejected, findings)
        with contextlib.closing(rows) as pairs:
            for first in pairs:
                rest = itertools.islice(pairs, config.records_per_shard - 1)
                name = shards.shard_name(config.split, len(staged), 0)
                staged.append(shards.write_shard(staging, name, itertools.chain([first], rest)))
        if not staged:
            raise UserError(
                f"input = {config.input!r}: holds no pair ({sum(rejected.values())} malformed rows). "
                "Remedy: give files with prompt, chosen and rejected."
            )
        report = {
            "config": presets.to_json(config),
            "files": [file.name for file in files],
            "files_not_read": names_not_read(config.input),
            "pairs": sum(shard.num_records for shard in staged),
            "shards": len(staged),
            "rejected": dict(sorted(rejected.items())),
            **findings.to_json(),
        }
        written = _publish(staged, config.split, staging, output)
        if rejected:
            _append(staging / "rejects.jsonl", output / "rejects.jsonl")
        _write_manifest(output, manifest, config, written, report)
        (staging / _PUBLISHED).unlink()
    finally:
        _take_back(staging, output)
    return report


def _take_back(staging: pathlib.Path, output: pathlib.Path) -> None:
    """Removes what an import left that did not come to its manifest: staged shards, and published ones."""
    published = staging / _PUBLISHED
    for name in published.read_text(encoding="utf-8").split("\n") if published.is_file() else ():
        for path in (output / name, output / f"{name}.json"):
            path.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)


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
    findings: Findings,
) -> Generator[PreferencePair]:
    """The pairs of all files, in order; counts malformed rows in `rejected` and keeps them, the others in `findings`."""
    sizes = [file.stat().st_size for file in files]
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            progress(total=sum(sizes), desc="import", unit="B", unit_scale=True)
        )
        rejects_file = stack.enter_context(open(rejects, "w", encoding="utf-8"))
        for file, before in zip(files, itertools.accumulate(sizes, initial=0), strict=False):
            for row in read_rows(file):
                bar.update(before + row.position - bar.n)
                try:
                    if isinstance(row.value, MalformedRow):
                        raise row.value
                    parsed = parse_row(row.value, {"file": file.name, "row": row.number})
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
                else:
                    findings.add(parsed)
                    yield parsed.pair


def _publish(
    staged: list[shards.Shard], split: str, staging: pathlib.Path, output: pathlib.Path
) -> list[shards.Shard]:
    """Moves the shards to their final names, which it notes before."""
    names = [shards.shard_name(split, i, len(staged)) for i in range(len(staged))]
    (staging / _PUBLISHED).write_text("\n".join(names), encoding="utf-8")
    published = []
    for name, shard in zip(names, staged, strict=True):
        (staging / shard.name).replace(output / name)
        published.append(dataclasses.replace(shard, name=name))
        write_json(output / f"{name}.json", dataclasses.asdict(published[-1]))
    return published


def _append(source: pathlib.Path, target: pathlib.Path) -> None:
    """Adds the source's lines to the target, so that the target is whole at any time."""
    with storage.replaced(target) as partial, open(partial, "wb") as file:
        for path in (target, source):
            if path.is_file():
                with open(path, "rb") as lines:
                    shutil.copyfileobj(lines, file)


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
    suffix = pathlib.Path(config.output).suffix
    writers: dict[str, Callable[..., Any]] = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    require(
        suffix in writers,
        "output",
        config.output,
        "must end in .jsonl or .parquet",
        "the ending says the format",
    )
    dataset = shards.ShardedDataset(config.input, PreferencePair, config.split)
    if len(dataset) == 0:
        raise UserError(f"{dataset!r}: nothing to export. Remedy: give another input or split.")
    with (
        outputs.file(config.output) as output,
        storage.replaced(output) as partial,
        contextlib.closing(_rows_of(dataset)) as rows,
    ):
        writers[suffix](partial, rows, dataset[0].is_conversation)
    return len(dataset)


def _rows_of(dataset: shards.ShardedDataset) -> Generator[dict[str, Any]]:
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
