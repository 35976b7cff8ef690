"""Readers -> snippets -> dedup -> split by file -> SourceFile shards."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import pathlib
from typing import Any

from codepmp_jax import presets, shards
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import readers, snippets
from codepmp_jax.errors import UserError
from codepmp_jax.progress import progress
from codepmp_jax.records import SourceFile, content_id

REPORT = "report.json"


@dataclasses.dataclass
class Found:
    """What came out of a folder, and what was left out of it."""

    sources: list[SourceFile] = dataclasses.field(default_factory=list)
    num_files: int = 0
    num_snippets: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Snippets left out, by reason."""
    rejected_files: list[dict[str, str]] = dataclasses.field(default_factory=list)
    """Files left out: path, reason, what the reader said."""


def split_of(path: str, config: CorpusConfig) -> str:
    """`heldout` or `train`: a file's snippets stay together, whatever else the folder holds."""
    digest = hashlib.sha256(f"{config.seed}:{path}".encode()).digest()
    heldout = int.from_bytes(digest[:8]) < config.heldout_fraction * 2**64
    return "heldout" if heldout else "train"


def find_sources(folder: readers.Folder, config: CorpusConfig) -> Found:
    """The snippets of all files, in the order of path and line; of equal ones only the first.

    Raises UserError where the folder holds no Python file.
    """
    paths = readers.list_files(folder.root, config.exclude)
    if not paths:
        raise UserError(
            f"input = {str(folder.root)!r}: holds no .py file outside {', '.join(config.exclude)}. "
            "Remedy: give another folder, or change --exclude."
        )
    found = Found(num_files=len(paths))
    seen: set[str] = set()
    for file in progress(paths, desc="corpus", unit="file"):
        path = readers.relative_path(file, folder.root)
        try:
            extracted = list(snippets.extract(readers.read_python(file), config, found.dropped))
        except (OSError, readers.Undecodable, snippets.Unparsable) as error:
            reason = {OSError: "unreadable", readers.Undecodable: "undecodable"}
            kind = next(
                (said for type_, said in reason.items() if isinstance(error, type_)), "unparsable"
            )
            found.rejected_files.append({"path": path, "reason": kind, "error": str(error)})
            continue
        for snippet in extracted:
            if snippet.normal_hash in seen:
                found.dropped["duplicate"] += 1
                continue
            seen.add(snippet.normal_hash)
            found.sources.append(
                SourceFile(
                    source_id=content_id(snippet.content),
                    content=snippet.content,
                    description=snippet.description,
                    name=snippet.name,
                    kind=snippet.kind,
                    language="python",
                    repository=folder.repository,
                    path=path,
                    license=folder.license,
                    line=snippet.line,
                )
            )
    found.num_snippets = len(found.sources) + found.dropped.total()
    return found


def build_corpus(config: CorpusConfig) -> dict[str, Any]:
    """Writes the shards, the manifest and report.json; returns the report.

    Within a split the sources lie in the order of their hashes, so that the first n are a random
    sample. Raises UserError where a split would be empty.
    """
    folder = readers.open_folder(config)
    output = pathlib.Path(config.output)
    found = find_sources(folder, config)
    splits: dict[str, list[SourceFile]] = {"train": [], "heldout": []}
    for source in sorted(found.sources, key=lambda source: source.source_id):
        splits[split_of(source.path, config)].append(source)
    empty = [split for split, sources in splits.items() if not sources]
    if empty:
        raise UserError(
            f"input = {str(folder.root)!r}: of {found.num_files} files with {len(found.sources)} "
            f"snippets kept, none fell to the split {' and '.join(empty)}. Remedy: give more files, "
            "or another heldout_fraction or seed."
        )
    report = _report(found, splits)
    _clear(output)
    written = {
        "train": shards.write_split(output, "train", splits["train"], config.num_shards),
        "heldout": shards.write_split(output, "heldout", splits["heldout"], 1),
    }
    shards.write_json(output / REPORT, report)
    made_by = {
        "command": "launch/corpus.py",
        "config": presets.to_json(config),
        "repository": folder.repository,
    }
    shards.write_manifest(
        output, SourceFile, written, made_by, dropped=report["snippets"]["dropped"]
    )
    return report


def _clear(output: pathlib.Path) -> None:
    """Takes away an older corpus in the folder. Raises UserError where something else lies there."""
    if not (output / shards.MANIFEST).exists():
        return
    manifest = shards.read_manifest(output, SourceFile)
    (output / shards.MANIFEST).unlink()
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            (output / shard["name"]).unlink(missing_ok=True)
            (output / f"{shard['name']}.json").unlink(missing_ok=True)


def _report(found: Found, splits: dict[str, list[SourceFile]]) -> dict[str, Any]:
    reasons = collections.Counter(file["reason"] for file in found.rejected_files)
    return {
        "files": {
            "found": found.num_files,
            "dropped": dict(sorted(reasons.items())),
            "rejected": found.rejected_files,
        },
        "snippets": {
            "found": found.num_snippets,
            "kept": len(found.sources),
            "dropped": dict(sorted(found.dropped.items())),
        },
        "splits": {
            split: {
                "files": len({source.path for source in sources}),
                "snippets": len(sources),
                "functions": sum(source.kind == "function" for source in sources),
                "classes": sum(source.kind == "class" for source in sources),
                "characters": sum(len(source.content) for source in sources),
            }
            for split, sources in splits.items()
        },
    }
