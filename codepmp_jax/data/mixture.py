"""Several data sets as one: which record of which source a stream reads next.

    source -> shuffle with a seed of its own, reseeded each epoch -> repeat        (each source's order, by index)
           -> every V-th record for stream v                                       (of each source)
    sources of stream v -> mixed by their weights (Grain) -> shuffled in windows   (stream v, by index)

So every stream has the shares of the weights, however fast it reads; and since each source is dealt into the streams
like a data set of its own, its epoch has each of its records once.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grain

from codepmp_jax.cli.errors import require
from codepmp_jax.config import DataConfig
from codepmp_jax.config.mixture import proportions
from codepmp_jax.files import storage
from codepmp_jax.files.staging import Cache
from codepmp_jax.records.schema import Record
from codepmp_jax.records.shards import ShardedDataset, find_record_type

# Records of a stream among which the mixture is shuffled where there are several streams. Otherwise these would be in
# step, and a batch of a row each would be of one source.
WINDOW_RECORDS = 1024


class Drawn(NamedTuple):
    """A record of a mixture."""

    source: str
    record: Any


class Mixture(Sequence):
    """The records of several sources, one source after the other, and the proportions in which they are drawn."""

    def __init__(self, parts: Mapping[str, Sequence[Any]], proportions: Mapping[str, int]):
        """`parts` and `proportions` (config.mixture.proportions) are by the sources' names."""
        self.parts = dict(sorted(parts.items()))
        self.proportions = {name: proportions[name] for name in self.parts}
        self._ends = list(itertools.accumulate(len(part) for part in self.parts.values()))

    @property
    def sizes(self) -> dict[str, int]:
        """How many records each source has."""
        return {name: len(part) for name, part in self.parts.items()}

    @property
    def sources(self) -> list[str]:
        """The name of the source of each record."""
        return [name for name, size in self.sizes.items() for _ in range(size)]

    @property
    def shares(self) -> dict[str, float]:
        """The share of each source in the records that are drawn."""
        total = sum(self.proportions.values())
        return {name: number / total for name, number in self.proportions.items()}

    def stream(
        self, number: int, num_streams: int, *, shuffle: bool, seed: int
    ) -> grain.MapDataset[Any]:
        """The records of stream `number`, Drawn, without end, by index.

        Of its first n records, a source's are within max(1, number of sources - 1) of its share of n, at the ends of
        windows where these are shuffled.
        """
        parts = []
        for name, part in self.parts.items():
            records = grain.MapDataset.source(part)
            if shuffle:
                records = records.seed(_seed(seed, name)).shuffle()
            records = records.repeat()[number::num_streams]
            parts.append(records.map(functools.partial(Drawn, name)))
        # Grain scales the weights so that the smallest is 100, which it is: it takes these numbers as they are.
        mixed = grain.MapDataset.mix(parts, list(self.proportions.values()))
        if not shuffle or num_streams == 1 or len(parts) == 1:
            return mixed
        # It counts up from the seed, which must stay below 2^32.
        seed = _seed(seed, f"/{number}") // 2
        return grain.experimental.WindowShuffleMapDataset(
            mixed, window_size=WINDOW_RECORDS, seed=seed
        )

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, index)
        part = list(self.parts.values())[number]
        return part[index - self._ends[number] + len(part)]

    def __len__(self) -> int:
        return self._ends[-1]

    def __repr__(self) -> str:
        return f"Mixture({', '.join(f'{name}: {part!r}' for name, part in self.parts.items())})"


def _seed(seed: int, name: str) -> int:
    """A seed in [0, 2^32) that depends on both."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def open_records(
    data: DataConfig, split: str, record_types: Sequence[type[Record]]
) -> ShardedDataset | Mixture:
    """The split of data.input, or the splits of all sources of data.mixture, each of records of one of these types.

    Raises UserError as ShardedDataset does, and where the cache cannot hold what is read at once.
    """

    def opened(folder: str) -> ShardedDataset:
        return ShardedDataset(
            folder,
            find_record_type(folder, record_types),
            split,
            data.verify_shards,
            cache=Cache(data.cache, data.cache_bytes),
            in_order=not data.shuffle,
        )

    if not data.sources:
        return opened(data.input)
    parts = {source.name: opened(source.folder) for source in data.sources}
    _require_cache(data, [part for part in parts.values() if storage.is_bucket(part.directory)])
    return Mixture(parts, proportions(data.sources))


def _require_cache(data: DataConfig, parts: Sequence[ShardedDataset]) -> None:
    """Raises UserError where the shards of all sources in buckets do not fit together: each alone does."""
    needed = [
        sum(sizes) if data.shuffle else 2 * max(sizes, default=0)
        for sizes in ([shard.num_bytes for shard in part.shards] for part in parts)
    ]
    require(
        sum(needed) <= data.cache_bytes,
        "data.cache_bytes",
        data.cache_bytes,
        f"must hold {'all' if data.shuffle else 'two shards of each source:'} {sum(needed)} bytes of the sources in "
        "buckets, which are read at once",
        "raise it, or mount the bucket (gcsfuse) and give the path",
    )


def sizes_of(records: Sequence[Any]) -> dict[str, int]:
    """How many records each source of a mixture has; empty where the records are no mixture."""
    return records.sizes if isinstance(records, Mixture) else {}


def sha256_of_shards(records: ShardedDataset | Mixture) -> Any:
    """The sha256 of the shards, which do not depend on their path: a list, or of a mixture one by each source's name."""
    if isinstance(records, Mixture):
        return {name: sha256_of_shards(part) for name, part in _datasets(records).items()}
    return [shard.sha256 for shard in records.shards]


def datasets(records: ShardedDataset | Mixture) -> list[ShardedDataset]:
    """The data sets that the records are in."""
    return list(_datasets(records).values()) if isinstance(records, Mixture) else [records]


def _datasets(mixture: Mixture) -> dict[str, ShardedDataset]:
    found = {name: part for name, part in mixture.parts.items() if isinstance(part, ShardedDataset)}
    assert len(found) == len(mixture.parts)
    return found
