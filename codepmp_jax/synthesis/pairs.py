"""SourceFile shards -> PreferencePair shards: the author's code against a writer's."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from codepmp_jax import presets, shards
from codepmp_jax.config import SynthesisConfig
from codepmp_jax.errors import UserError
from codepmp_jax.progress import progress
from codepmp_jax.records import PreferencePair, SourceFile, content_id
from codepmp_jax.shards import Shard, ShardedDataset
from codepmp_jax.synthesis.lengths import Tally, length_report, tally_lengths
from codepmp_jax.synthesis.ngram import NgramSampler
from codepmp_jax.synthesis.sampler import Request, Sampler

REPORT = "report.json"
SPLITS = ("train", "heldout")
_BATCH = 64


def synthesize(config: SynthesisConfig) -> dict[str, Any]:
    """Writes the shards that are not there yet, report.json and the manifest; returns the report.

    Output shard i is made from input shard i. Raises UserError where the output holds shards of other
    settings, or the input is no corpus.
    """
    output = pathlib.Path(config.output)
    sources = {split: ShardedDataset(config.input, SourceFile, split) for split in SPLITS}
    sampler = NgramSampler(list(sources["train"]), config.ngram, config.seed)
    jobs = [
        _Job(output, dataset, number, sampler)
        for dataset in sources.values()
        for number in range(len(dataset.shards))
    ]
    left = [job for job in jobs if not job.is_finished()]
    (output / shards.MANIFEST).unlink(missing_ok=True)
    total, todo = (sum(len(job.places()) for job in some) for some in (jobs, left))
    with progress(total=total, initial=total - todo, desc="synthesis", unit="source") as bar:
        for job in left:
            job.run(bar)

    by_split = {split: [job.entry() for job in jobs if job.split == split] for split in SPLITS}
    report = {
        split: {
            "pairs": sum(entry["num_records"] for entry in entries),
            "dropped": _sum(entry["dropped"] for entry in entries),
            "lengths": length_report(entry["lengths"] for entry in entries),
        }
        for split, entries in by_split.items()
    }
    shards.write_json(output / REPORT, report)
    shards.write_manifest(
        output,
        PreferencePair,
        {split: [_shard(entry) for entry in entries] for split, entries in by_split.items()},
        {
            "command": "launch/synthesize.py",
            "config": presets.to_json(config),
            "sampler": sampler.settings(),
        },
        dropped={split: report[split]["dropped"] for split in SPLITS},
    )
    return report


@dataclasses.dataclass(frozen=True)
class _Job:
    """One output shard, to be made from the input shard of the same split and number."""

    output: pathlib.Path
    sources: ShardedDataset
    number: int
    sampler: Sampler

    @property
    def split(self) -> str:
        return self.sources.split

    @property
    def name(self) -> str:
        return shards.shard_name(self.split, self.number, len(self.sources.shards))

    def settings(self) -> dict[str, Any]:
        """What the shard's bytes depend on."""
        return self.sampler.settings() | {"input_sha256": self.sources.shards[self.number].sha256}

    def places(self) -> range:
        """Indices of the input shard's sources."""
        before = sum(shard.num_records for shard in self.sources.shards[: self.number])
        return range(before, before + self.sources.shards[self.number].num_records)

    def entry(self) -> dict[str, Any]:
        """What stands beside the finished shard."""
        return json.loads((self.output / f"{self.name}.json").read_text(encoding="utf-8"))

    def is_finished(self) -> bool:
        """Whether the shard is there and whole. Raises UserError where it has other settings."""
        path = self.output / self.name
        if not (self.output / f"{self.name}.json").is_file():
            return False
        entry = self.entry()
        before, now = entry.get("settings", {}), self.settings()
        if before != now:
            changed = "; ".join(
                f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
                for key in sorted(before.keys() | now.keys())
                if before.get(key) != now.get(key)
            )
            raise UserError(
                f"{path}: was made with other settings: {changed}. Remedy: give another --output, "
                "delete this one, or go back to its settings."
            )
        return path.is_file() and shards.sha256_of(path) == entry["sha256"]

    def run(self, bar: tqdm[Any]) -> None:
        """Writes the shard."""
        dropped: collections.Counter[str] = collections.Counter()
        lengths: Tally = collections.Counter()
        # The entry is written after the records, when the two counters are full.
        shards.write_shard(
            *(self.output, self.name, self._pairs(dropped, lengths, bar)),
            settings=self.settings(),
            dropped=dropped,
            lengths=lengths,
        )

    def _pairs(
        self, dropped: collections.Counter[str], lengths: Tally, bar: tqdm[Any]
    ) -> Iterator[PreferencePair]:
        places = self.places()
        for start in range(0, len(places), _BATCH):
            batch = [self.sources[place] for place in places[start : start + _BATCH]]
            pairs = make_pairs(batch, self.sampler, dropped)
            lengths.update(tally_lengths(pairs))
            bar.update(len(batch))
            yield from pairs


def make_pairs(
    sources: Sequence[SourceFile], sampler: Sampler, dropped: collections.Counter[str]
) -> list[PreferencePair]:
    """Prompt = description, chosen = the author's code, rejected = the sampler's.

    Counts the sources that give no pair in `dropped`, by reason.
    """
    requests = [Request(source.source_id, source.description, source.content) for source in sources]
    pairs = []
    for source, completion in zip(sources, sampler.sample(requests), strict=True):
        reason = completion.reject_reason(source.content)
        if reason:
            dropped[reason] += 1
            continue
        rate = completion.facts.get("rate")
        pairs.append(
            PreferencePair(
                pair_id=content_id(source.description, source.content, completion.text),
                prompt=source.description,
                chosen=source.content,
                rejected=completion.text,
                subset="" if rate is None else f"rate {rate:.2f}",
                source_id=source.source_id,
                lineage={
                    **completion.facts,
                    "repository": source.repository,
                    "path": source.path,
                    "license": source.license,
                    "language": source.language,
                    "kind": source.kind,
                    "name": source.name,
                },
            )
        )
    return pairs


def _shard(entry: dict[str, Any]) -> Shard:
    return Shard(**{field.name: entry[field.name] for field in dataclasses.fields(Shard)})


def _sum(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))
