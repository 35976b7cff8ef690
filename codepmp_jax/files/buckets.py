"""Records that wait on disk, apart by bucket: what a sort or a grouping of more than fits in memory needs."""

from __future__ import annotations

import collections
import pathlib
import shutil

# Records in memory before they are written.
_BUFFER_BYTES = 64 << 20


class Buckets:
    """Records on disk, apart by shard. Any number of buckets, two open files at most."""

    def __init__(self, directory: pathlib.Path):
        """Starts with an empty folder."""
        self._directory = directory
        self._waiting: dict[str, list[bytes]] = collections.defaultdict(list)
        self._num_bytes = 0
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)

    def add(self, bucket: str, key: bytes, record: bytes) -> None:
        """Puts a record into a bucket, under a key of 16 bytes."""
        self._waiting[bucket] += [key, len(record).to_bytes(4, "little"), record]
        self._num_bytes += len(record) + 20
        if self._num_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits in memory."""
        for bucket, pieces in self._waiting.items():
            with open(self._directory / bucket, "ab") as file:
                file.writelines(pieces)
        self._waiting.clear()
        self._num_bytes = 0

    def read(self, bucket: str) -> list[tuple[bytes, bytes]]:
        """(key, record) of a bucket in the order of the keys."""
        path = self._directory / bucket
        data = path.read_bytes() if path.exists() else b""
        rows, place = [], 0
        while place < len(data):
            start = place + 20
            stop = start + int.from_bytes(data[place + 16 : start], "little")
            rows.append((data[place : place + 16], data[start:stop]))
            place = stop
        return sorted(rows)
