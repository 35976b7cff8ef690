"""Size and crc32c of every file of a folder, written when the folder is whole and compared before it is read.

A flipped byte in the values of a checkpoint is not noticed by what reads it. On a disk, comparing reads each
byte; a bucket keeps the checksums of its objects, so that a listing is enough.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence

from etils import epath

from codepmp_jax.files import storage
from codepmp_jax.files.arrivals import arrived

CHECKSUMS = "checksums.json"
_BLOCK_BYTES = 1 << 20


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            arrived(len(block))
    return digest.hexdigest()


def write(folder: epath.Path, exclude: Sequence[str]) -> None:
    """Writes checksums.json for all files of the folder but those of the names `exclude`."""
    sizes = storage.files(folder)
    names = sorted(sizes.keys() - {CHECKSUMS, *exclude})
    found = storage.checksums(folder, names)
    entries = {name: {"bytes": sizes[name].num_bytes, "crc32c": found[name]} for name in names}
    storage.write_text(folder / CHECKSUMS, json.dumps(entries, indent=1) + "\n")


def faults(
    folder: epath.Path, items: Sequence[str] = ("",), part: int = 0, num_parts: int = 1
) -> list[str]:
    """What is wrong with the files below `items` (all by default), a line each; empty where nothing is.

    Reads only every `num_parts`-th of the files, from `part` on.
    """
    try:
        entries = json.loads((folder / CHECKSUMS).read_text())
        # By size, so that the parts are about equal.
        names = sorted(
            (name for name in entries if name.startswith(tuple(items))),
            key=lambda name: (entries[name]["bytes"], name),
        )[part::num_parts]
    except FileNotFoundError:
        return [f"{CHECKSUMS} is missing"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{CHECKSUMS} is damaged ({error!r})"]
    there = storage.files(folder)
    found, sound = [], []
    for name in names:
        if name not in there:
            found.append(f"{name} is missing")
        elif there[name].num_bytes != entries[name]["bytes"]:
            was, is_now = entries[name]["bytes"], there[name].num_bytes
            found.append(f"{name} is damaged: it has {is_now} bytes, not {was}")
        else:
            sound.append(name)
    for name, crc32c in storage.checksums(folder, sound).items():
        if crc32c != entries[name]["crc32c"]:
            found.append(
                f"{name} is damaged: its crc32c is {crc32c}, not {entries[name]['crc32c']}"
            )
    return sorted(found)
