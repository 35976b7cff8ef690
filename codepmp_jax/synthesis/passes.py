"""One pass over the corpus: a text for every source, by one writer, in chunks that survive a kill.

    OUTPUT/passes/describe/settings.json
    OUTPUT/passes/describe/train-00000-of-00004/00000.array_record     Completions of the first chunk
                                                00000.array_record.json    its counts and sha256
                                                ...
                                                retry.array_record     second tries; ends the shard

A chunk is the unit of loss: it lies there whole or not at all. A pass over a shard is finished when its
retries lie there, also where there was nothing to try again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SynthesisConfig, WriterConfig
from codepmp_jax.files import resume
from codepmp_jax.records import shards
from codepmp_jax.records.schema import Completion, SourceFile
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.synthesis.prompts import make_request, template_version
from codepmp_jax.synthesis.reports.status import Status
from codepmp_jax.synthesis.writers.sampler import Request, Sampler
from codepmp_jax.synthesis.writers.samplers import make_sampler

DESCRIBE = "describe"
PASSES = (DESCRIBE, "chosen", "rejected")
SPLITS = ("train", "heldout")
_RETRY = "retry.array_record"


@dataclasses.dataclass(frozen=True)
class ShardId:
    """A shard of the corpus, and everything that is made from it."""

    split: str
    number: int
    num_shards: int
    """Shards of the split."""

    @property
    def name(self) -> str:
        """File name of the corpus shard and of the pair shard."""
        return shards.shard_name(self.split, self.number, self.num_shards)

    @property
    def folder(self) -> str:
        """Name of its folder in a pass."""
        return f"{self.split}-{self.number:05d}-of-{self.num_shards:05d}"

    def sources(self, corpus: str) -> Sequence[SourceFile]:
        """Its sources. Raises UserError where the shard is damaged."""
        return ShardedDataset(corpus, SourceFile, self.split, only=self.number)


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass of a run. Picklable: workers get it by value."""

    config: SynthesisConfig
    name: str

    @property
    def writer(self) -> WriterConfig:
        """Who writes in this pass."""
        return getattr(self.config, self.name)

    @property
    def directory(self) -> pathlib.Path:
        """Where its texts lie."""
        return pathlib.Path(self.config.output, "passes", self.name)

    def make_sampler(self) -> Sampler:
        """The sampler; its model is not loaded yet."""
        return make_sampler(self.writer, self.config.input, self.config.seed)

    def settings(self) -> dict[str, Any]:
        """What its texts depend on beside the corpus."""
        with self.naming_settings():
            writer = self.make_sampler().settings()
        return {
            "writer": writer,
            "template": self.writer.template,
            "chunk_size": self.config.chunk_size,
        }

    @contextlib.contextmanager
    def naming_settings(self) -> Iterator[None]:
        """Puts the pass before the setting that a model's UserError begins with: `rejected.model = ...`."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.name}.{error}" if self.writer.model else str(error)) from error

    def is_finished(self, shard: ShardId) -> bool:
        """Whether every text of the shard lies there."""
        return _is_written(self.directory / shard.folder / _RETRY)

    def num_done(self, shard: ShardId, num_sources: int) -> int:
        """Of the shard's sources, those whose chunk lies there."""
        size = self.config.chunk_size
        folder = self.directory / shard.folder
        return sum(
            min(size, num_sources - start)
            for number, start in enumerate(range(0, num_sources, size))
            if _is_written(folder / _chunk(number))
        )

    def completions(self, shard: ShardId) -> dict[str, Completion]:
        """Source id -> what the pass made of it; of a source that was tried again, the last try.

        Raises UserError where a chunk is damaged.
        """
        folder = self.directory / shard.folder
        chunks = sorted(folder.glob("[0-9]*.array_record"))
        return {
            completion.key: completion
            for path in (*chunks, folder / _RETRY)
            for completion in shards.read_shard(path, Completion)
        }


class PassWorker:
    """Runs one pass over shards, with one sampler."""

    def __init__(self, which: Pass, command: str):
        """`command` is the id of the command that the worker belongs to."""
        self._pass = which
        self._sampler = which.make_sampler()
        self._status = Status(which.config.output, command)

    def __call__(self, shard: ShardId) -> None:
        """Writes what is missing of the shard's texts. Another worker of the same shard waits."""
        folder = self._pass.directory / shard.folder
        with resume.hold(folder / ".lock"):
            if self._pass.is_finished(shard):
                return
            sources = shard.sources(self._pass.config.input)
            descriptions = self._descriptions(shard)
            size = self._pass.config.chunk_size
            for number, start in enumerate(range(0, len(sources), size)):
                path = folder / _chunk(number)
                chunk = [sources[i] for i in range(start, min(start + size, len(sources)))]
                if _is_written(path):
                    continue
                self._write(path, self._requests(chunk, descriptions), len(chunk))
            self._write(folder / _RETRY, self._failed(folder, sources, descriptions), 0)

    def close(self) -> None:
        """Lets go of the model."""
        self._sampler.close()

    def _descriptions(self, shard: ShardId) -> dict[str, str]:
        """Source id -> description, of the sources that have one; none in the pass that describes."""
        if self._pass.name == DESCRIBE:
            return {}
        described = Pass(self._pass.config, DESCRIBE).completions(shard).values()
        return {
            completion.key: completion.text
            for completion in described
            if not completion.failure and completion.text.strip()
        }

    def _requests(
        self, sources: Sequence[SourceFile], descriptions: dict[str, str]
    ) -> Iterator[Request]:
        for source in sources:
            description = descriptions.get(source.source_id, "")
            if description or self._pass.name == DESCRIBE:
                key = f"{self._pass.name}/{source.source_id}"
                yield make_request(key, self._pass.writer, source, description)

    def _failed(
        self, folder: pathlib.Path, sources: Sequence[SourceFile], descriptions: dict[str, str]
    ) -> Iterator[Request]:
        """The retry list: requests of the shard's chunks that failed."""
        if not self._sampler.retries:
            return
        failed = {
            completion.key
            for path in folder.glob("[0-9]*.array_record")
            for completion in shards.read_shard(path, Completion)
            if completion.failure
        }
        again = [source for source in sources if source.source_id in failed]
        yield from self._requests(again, descriptions)

    def _write(self, path: pathlib.Path, requests: Iterator[Request], num_sources: int) -> None:
        """Samples and writes one chunk."""
        asked = list(requests)
        started = time.monotonic()
        with self._pass.naming_settings():
            completions = sample(self._sampler, asked, path.name == _RETRY) if asked else []
        seconds = time.monotonic() - started
        num_tokens = sum(completion.num_tokens for completion in completions)
        writer = self._pass.writer
        facts = {"template": template_version(writer.template)} if writer.model else {}
        records = [
            dataclasses.replace(
                completion, key=request.source.source_id, facts=completion.facts | facts
            )
            for request, completion in zip(asked, completions, strict=True)
        ]
        shards.write_shard(
            path.parent,
            path.name,
            records,
            worker=self._status.worker,
            texts=len(records),
            tokens=num_tokens,
            seconds=round(seconds, 3),
        )
        self._status.add(num_sources, num_tokens)


def sample(
    sampler: Sampler, requests: Sequence[Request], are_retries: bool = False
) -> list[Completion]:
    """The sampler's completions. An error of a request becomes the failure of that one alone.

    Raises UserError where the sampler does, and any other error of it where it fails on every one of several
    requests, unless these have failed before.
    """
    try:
        return sampler.sample(requests)
    except UserError:
        raise
    except Exception as error:
        logging.warning("%d requests failed together, now one by one: %r", len(requests), error)
        cause = error
    completions = []
    for request in requests:
        try:
            completions += sampler.sample([request])
        except UserError:
            raise
        except Exception as error:
            completions.append(Completion(request.key, "", "error", repr(error)))
            cause = error
    is_broken = len(requests) > 1 and all(c.failure == "error" for c in completions)
    if is_broken and not are_retries:
        raise cause
    return completions


def _chunk(number: int) -> str:
    return f"{number:05d}.array_record"


def _is_written(path: pathlib.Path) -> bool:
    return path.is_file() and path.with_name(f"{path.name}.json").is_file()
