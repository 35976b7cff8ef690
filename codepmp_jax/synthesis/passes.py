"""One pass over the corpus: a text for every source, by one writer, in chunks that survive a kill.

    OUTPUT/passes/describe/settings.json
    OUTPUT/passes/describe/train-00000-of-00004/00000.array_record     Completions of the first chunk
                                                00000.array_record.json    its counts and sha256
                                                00001.replies.jsonl    a model's replies to the second as they come
                                                ...
                                                retry.array_record     second tries; ends the shard

A chunk lies there whole or not at all. Of one that is begun, a kill loses what a model has not answered yet, and what an
embedded writer wrote. A pass over a shard is finished when its retries lie there, also where there was nothing to
try again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SynthesisConfig, WriterConfig
from codepmp_jax.files import resume
from codepmp_jax.records import shards
from codepmp_jax.records.schema import Completion, SourceFile
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.synthesis.kept import KeptReplies, num_kept
from codepmp_jax.synthesis.prompts import make_request, template_version
from codepmp_jax.synthesis.reports.status import Status
from codepmp_jax.synthesis.writers.sampler import Request, Sampler, naming_settings
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

    def naming_settings(self) -> contextlib.AbstractContextManager[None]:
        """Puts the pass before the settings that a model's UserError names: `rejected.model = ...`."""
        return naming_settings(self.name, bool(self.writer.model))

    def is_finished(self, shard: ShardId) -> bool:
        """Whether every text of the shard lies there."""
        return _is_written(self.directory / shard.folder / _RETRY)

    def num_done(self, shard: ShardId, num_sources: int) -> int:
        """Of the shard's sources, those whose text lies there."""
        size = self.config.chunk_size
        folder = self.directory / shard.folder
        return sum(
            min(size, num_sources - start)
            if _is_written(folder / _chunk(number))
            else num_kept(_replies(folder / _chunk(number)))
            for number, start in enumerate(range(0, num_sources, size))
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
                    # A kill may have come between the two.
                    _replies(path).unlink(missing_ok=True)
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
        """Samples and writes one chunk, of which a model's replies may be there."""
        asked = list(requests)
        is_retry = path.name == _RETRY
        writer = self._pass.writer
        kept = KeptReplies(_replies(path)) if writer.model else None
        found = kept.of(asked) if kept else {}
        left = [request for request in asked if request.key not in found]
        num_counted = 0 if is_retry else len(found)
        started = time.monotonic()

        def arrived(completion: Completion) -> None:
            nonlocal num_counted
            if kept:
                kept.add(completion)
            num_counted += not is_retry
            self._status.add(not is_retry, completion.num_tokens)

        try:
            with self._pass.naming_settings():
                completions = sample(self._sampler, left, is_retry or bool(found), arrived)
        except BaseException:
            if kept:
                kept.close(is_done=False)
            raise
        found |= {completion.key: completion for completion in completions}
        facts = {"template": template_version(writer.template)} if writer.model else {}
        records = [
            dataclasses.replace(
                found[request.key],
                key=request.source.source_id,
                facts=found[request.key].facts | facts,
            )
            for request in asked
        ]
        shards.write_shard(
            path.parent,
            path.name,
            records,
            worker=self._status.worker,
            texts=len(records),
            tokens=sum(record.num_tokens for record in records),
            seconds=round(kept.seconds if kept else time.monotonic() - started, 3),
        )
        if kept:
            kept.close(is_done=True)
        # Sources that nothing was asked for are done too.
        self._status.add(num_sources - num_counted, 0, is_last=True)


def _nothing(completion: Completion) -> None:
    """What is done with a completion that comes, where nothing is to be done."""


def sample(
    sampler: Sampler,
    requests: Sequence[Request],
    are_retries: bool = False,
    arrived: Callable[[Completion], None] = _nothing,
) -> list[Completion]:
    """The sampler's completions, each given to `arrived` as it comes. An error of a request becomes the failure of that
    one alone.

    Raises UserError where the sampler does, and any other error of it where it fails on every one of several
    requests, unless these, or others with them, have been asked before.
    """
    if not requests:
        return []
    found: dict[str, Completion] = {}

    def take(some: Sequence[Request]) -> None:
        for completion in sampler.stream(some):
            found[completion.key] = completion
            arrived(completion)

    cause: Exception | None = None
    try:
        take(requests)
    except UserError:
        raise
    except Exception as error:
        cause = error
    left = [request for request in requests if request.key not in found]
    if left:
        logging.warning("%d requests failed together, now one by one: %r", len(left), cause)
    for request in left:
        try:
            take([request])
        except UserError:
            raise
        except Exception as error:
            found[request.key] = Completion(request.key, "", "error", repr(error))
            arrived(found[request.key])
            cause = error
    completions = [found[request.key] for request in requests]
    is_broken = len(requests) > 1 and all(c.failure == "error" for c in completions)
    if is_broken and not are_retries and cause is not None:
        raise cause
    return completions


def _chunk(number: int) -> str:
    return f"{number:05d}.array_record"


def _replies(chunk: pathlib.Path) -> pathlib.Path:
    return chunk.with_name(f"{chunk.name.partition('.')[0]}.replies.jsonl")


def _is_written(path: pathlib.Path) -> bool:
    return path.is_file() and path.with_name(f"{path.name}.json").is_file()
