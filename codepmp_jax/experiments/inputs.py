"""What an input is, whatever its path: so that a changed input is noticed."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from codepmp_jax.cli.progress import progress
from codepmp_jax.files import storage
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.records import shards
from codepmp_jax.records.schema import content_id


def digests(inputs: Mapping[str, str], known: dict[str, Any]) -> dict[str, str]:
    """Name -> digest of each input, a path or a hub name.

    Shards are known by the sha256 in their manifest, a training run by the checksums of its newest checkpoint, other
    files by the sha256 of their bytes. Of what is not there (a hub name, or what a later command will write) the digest
    is the name itself. `known` holds digests by the sizes and times of files, so that they are read once; new ones are
    added.
    """
    labels = {"desc": "inputs", "unit": "input", "leave": False, "disable": not inputs}
    return {name: _digest(path, known) for name, path in progress(inputs.items(), **labels)}


def _digest(source: str, known: dict[str, Any]) -> str:
    path = storage.to_path(source)
    with storage.storage_errors(source, "read"):
        if not path.exists():
            return f"name:{source}"
        if (path / shards.MANIFEST).is_file():
            splits = shards.read_manifest(source)["splits"]
            return content_id(
                *(
                    f"{split} {shard['sha256']}"
                    for split, entry in sorted(splits.items())
                    for shard in entry["shards"]
                )
            )
        if (path / "checkpoints").is_dir():
            found = [each for each in (path / "checkpoints").iterdir() if each.name.isdecimal()]
            newest = max(found, key=lambda each: int(each.name), default=None)
            if newest is not None and (newest / "checksums.json").is_file():
                return content_id("run", newest.name, (newest / "checksums.json").read_text())
        if storage.is_bucket(source):
            files = storage.files(source)
            return content_id(
                *(f"{name} {files[name].num_bytes} {files[name].crc32c}" for name in sorted(files))
            )
        return _digest_of_files(pathlib.Path(source), known)


def _digest_of_files(path: pathlib.Path, known: dict[str, Any]) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    stamp = content_id(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))
    key = str(path.resolve())
    if known.get(key, {}).get("stamp") != stamp:
        parts = (f"{name} {sha256_of(file)}" for (name, _), file in zip(stats, files, strict=True))
        known[key] = {"stamp": stamp, "digest": content_id(*parts)}
    return known[key]["digest"]


def read_known(path: pathlib.Path) -> dict[str, Any]:
    """Digests of earlier starts; empty where there are none, or the file is damaged."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if all("stamp" in entry for entry in known.values()) else {}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
