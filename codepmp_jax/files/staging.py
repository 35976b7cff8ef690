"""Shards of a bucket, copied to this machine ahead of need: ArrayRecord's reader reads local files only.

CACHE/SHA256            a shard, by its content: another run, split or dataset with the same shard finds it
CACHE/SHA256.partial    one on its way; a copy that was cut off goes on where it stopped
CACHE/.SHA256.lock      held while it is copied, so that each is copied by one process of the machine
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import logging
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.files import storage
from codepmp_jax.files.arrivals import arrived
from codepmp_jax.files.checksums import sha256_of

_BLOCK_BYTES = 32 << 20
_THREADS = 4
# A copy that nobody has added to for so long is one that was given up.
_LEFT_SECONDS = 3600.0

_logger = logging.getLogger("codepmp_jax")


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where staged shards lie, and how many bytes of them."""

    folder: str
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Source:
    """A shard in a bucket."""

    path: str
    num_bytes: int
    sha256: str


class Staging:
    """The local copies of some shards. Picklable: other processes use the same cache."""

    def __init__(
        self, sources: Sequence[Source], cache: Cache, in_order: bool, verify: bool = True
    ):
        """`in_order`: shards are read one after the other; else all at once, and the cache must hold all.
        `verify`: copies that were there are compared with their sha256; those made are always.

        Raises UserError where the cache is too small, its disk lacks the room, or it cannot be written.
        """
        self._sources = sources
        self._cache = cache
        self._folder = pathlib.Path(cache.folder).expanduser()
        sizes = {source.sha256: source.num_bytes for source in sources}
        self._holds_all = sum(sizes.values()) <= cache.num_bytes
        most = 2 * max(sizes.values(), default=0)
        require(
            self._holds_all or (in_order and most <= cache.num_bytes),
            "data.cache_bytes",
            cache.num_bytes,
            f"must hold two shards ({most} bytes)"
            if in_order
            else f"must hold all {sum(sizes.values())} bytes of the split: a shuffled epoch reads everywhere",
            "raise it, mount the bucket (gcsfuse) and give the path"
            + ("" if in_order else ", or read in file order (--no-data.shuffle)"),
        )
        with storage.storage_errors(self._folder, "written"):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / ".lock").touch()
        missing = sum(n for sha256, n in sizes.items() if not (self._folder / sha256).exists())
        room = shutil.disk_usage(self._folder).free
        require(
            min(missing, cache.num_bytes) <= room,
            "data.cache",
            cache.folder,
            f"must have room for {min(missing, cache.num_bytes)} bytes; its disk has {room}",
            "free some, or give a folder on another disk",
        )
        self._verify = verify
        self._begin()
        if missing:
            self._bar = progress(total=missing, desc="staging", unit="B", unit_scale=True)
        if self._holds_all:
            self._start(range(len(sources)))

    def _begin(self) -> None:
        self._waiting: collections.deque[int] = collections.deque()
        self._copies: dict[int, concurrent.futures.Future[None]] = {}
        self._num_threads = 0
        self._needed = slice(None)
        self._bar: tqdm[Any] | None = None
        self._changing = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_waiting", "_copies", "_num_threads", "_needed", "_bar", "_changing")
        # What lies in the cache has been verified by the process that this comes from.
        kept = {name: value for name, value in self.__dict__.items() if name not in own}
        return kept | {"_verify": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()

    @property
    def num_open(self) -> int:
        """How many shards may be open at a time; a file that is open keeps its bytes from being freed."""
        return len(self._sources) if self._holds_all else 2

    def path(self, number: int) -> pathlib.Path:
        """The copy of a shard, for which it waits; the one after it is copied meanwhile.

        Raises UserError where it cannot be had, or its bytes are not those of its sha256.
        """
        path = self._path(number)
        if not self._holds_all:
            self._needed = slice(number, number + 2)
        while True:
            self._start(range(number, min(number + 2, len(self._sources))))
            self._copies[number].result()
            # Else another process has just made room for its own.
            if path.exists():
                return path

    def _start(self, numbers: Iterable[int]) -> None:
        """Asks for copies, the first of them before all that wait."""
        with self._changing:
            for number in reversed([*numbers]):
                copy = self._copies.get(number)
                if copy is None or (copy.done() and not self._path(number).exists()):
                    self._copies[number] = concurrent.futures.Future()
                    self._waiting.appendleft(number)
                elif not copy.done() and number in self._waiting:
                    self._waiting.remove(number)
                    self._waiting.appendleft(number)
            # Daemons, so that a process that ends does not wait for copies that nobody needs.
            for _ in range(min(len(self._waiting), _THREADS - self._num_threads)):
                self._num_threads += 1
                threading.Thread(target=self._work, name="staging", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changing:
                if not self._waiting:
                    self._num_threads -= 1
                    return
                number = self._waiting.popleft()
            try:
                self._copy(number)
            except BaseException as error:  # raised where the shard is asked for
                self._copies[number].set_exception(error)
            else:
                self._copies[number].set_result(None)

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / self._sources[number].sha256

    def _copy(self, number: int) -> None:
        source, target = self._sources[number], self._path(number)
        with _held(self._folder / f".{source.sha256}.lock"):
            if target.exists():
                if _is_whole(target, source, self._verify):
                    os.utime(target)
                    return
                _logger.warning("%s: is damaged; copied again", target)
                target.unlink()
            partial = target.with_name(f"{target.name}.partial")
            self._make_room(number, partial)
            # Once more from the start where what an earlier process left was the fault.
            for _ in range(2):
                with open(partial, "ab") as file:
                    while (start := file.tell()) < source.num_bytes:
                        stop = min(start + _BLOCK_BYTES, source.num_bytes)
                        file.write(storage.read_range(source.path, start, stop))
                        self._show(stop - start)
                if _is_whole(partial, source, True):
                    with _held(self._folder / ".lock"):
                        partial.replace(target)
                    return
                partial.unlink()
        raise UserError(
            f"{source.path}: shard is damaged: its bytes are not those with sha256 {source.sha256} of the "
            "manifest. Remedy: copy or make the dataset again."
        )

    def _show(self, num_bytes: int) -> None:
        arrived(num_bytes)
        with self._changing:
            if self._bar is not None:
                self._bar.update(num_bytes)
                if self._bar.n >= self._bar.total:
                    self._bar.close()
                    self._bar = None

    def _make_room(self, number: int, partial: pathlib.Path) -> None:
        """Deletes the shards used longest ago, but not those needed next, until another one fits.

        Then `partial` is there, and counts as what it will be.
        """
        sizes = {source.sha256: source.num_bytes for source in self._sources}
        keep = {source.sha256 for source in self._sources[self._needed]}
        with _held(self._folder / ".lock"):
            partial.touch()
            there = {path: path.stat() for path in self._folder.iterdir() if path.name[0] != "."}
            used = sum(
                max(stat.st_size, sizes.get(path.name.removesuffix(".partial"), 0))
                for path, stat in there.items()
            )
            for path, stat in sorted(there.items(), key=lambda item: item[1].st_mtime):
                is_left = path.suffix != ".partial" or time.time() - stat.st_mtime > _LEFT_SECONDS
                if used > self._cache.num_bytes and path.name not in keep and is_left:
                    path.unlink(missing_ok=True)
                    used -= stat.st_size


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock of this machine, for which it waits."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_whole(path: pathlib.Path, source: Source, verify: bool) -> bool:
    if path.stat().st_size != source.num_bytes:
        return False
    if not verify:
        return True
    return sha256_of(path) == source.sha256
