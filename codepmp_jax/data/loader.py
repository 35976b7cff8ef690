"""The loader: records by index, tokenized in workers, then dropped and filled into full batches.

    source -> shuffle, reseeded each epoch -> repeat -> every H-th record for host h   (records, by index)
           -> groups of records, tokenized in worker processes or threads              (Grain)
           -> drops, batches of exactly `batch_pairs`                                  (a thread ahead)

All that has a state comes after the last step that has an index. So the state is the number of records
that this host has consumed, and counts: it depends neither on workers nor on groups.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import grain
from absl import flags

from codepmp_jax.config import DataConfig
from codepmp_jax.data import transforms
from codepmp_jax.data.ahead import Ahead, StatefulIterator
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.transforms import DropReason, TokenizedPair
from codepmp_jax.errors import UserError, require
from codepmp_jax.records import PreferencePair
from codepmp_jax.tokenization import Tokenizer

# Records tokenized in one call: enough to keep the cores busy, few enough to start and seek fast.
_GROUP_RECORDS = 64
# Batches made ahead of the step.
_BATCHES_AHEAD = 2
# Threads and groups ahead, of the trainer (num_workers = 0) and of each worker process.
_TRAINER_THREADS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)
_WORKER_THREADS = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
# A host gives up after so many records in a row without a pair kept, or after its epoch if longer.
_MAX_DROPS = 10_000

COUNTS = ("pairs", "too_long", "identical", "tokens")


class PairLoader(Iterator[Batch]):
    """Batches of one host: with `repeat`, epochs without end; without it, one pass in file order.

    The one pass gives every host the same number of batches, `num_batches`, the last ones completed with
    filler pairs: hosts agree on the number of evaluation steps, whatever each of them drops.
    """

    num_batches: int | None
    """Batches of the one pass; None with `repeat`."""
    last_pair_ids: list[str]
    """Ids of the pairs in the batch that came last, fillers left out."""

    def __init__(
        self,
        source: Sequence[PreferencePair],
        tokenizer: Tokenizer,
        config: DataConfig,
        *,
        batch_pairs: int,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        repeat: bool = True,
    ):
        """Host `process_index` takes every `process_count`-th record of the global order.

        `batch_pairs` is this host's share of the batch. Raises UserError where the source is empty, or
        where the tokenizer cannot append the EOS asked for.
        """
        require(batch_pairs > 0, "batch_pairs", batch_pairs, "must be positive", "raise it")
        require(0 <= seed < 2**32, "seed", seed, "must lie in [0, 2^32)", "pick another")
        assert 0 <= process_index < process_count
        if len(source) == 0:
            raise UserError(f"{source!r}: holds no pairs. Remedy: give a dataset that does.")
        if config.append_eos:
            tokenizer.require_eos()
        records = grain.MapDataset.source(source)
        if repeat:
            if config.shuffle:
                records = records.seed(seed).shuffle()
            records = records.repeat()
        host_records = _ceil_div(len(source), process_count)
        self.num_batches = None if repeat else _ceil_div(host_records, batch_pairs)
        self.last_pair_ids = []
        self._batches = _Batches(
            name=repr(source) if hasattr(source, "directory") else "the source",
            records=records[process_index::process_count],
            tokenizer=tokenizer,
            config=config,
            batch_pairs=batch_pairs,
            num_batches=self.num_batches,
            max_drops=max(host_records, min(len(source), _MAX_DROPS)),
        )
        self._ahead = Ahead(self._batches, _BATCHES_AHEAD)
        # Also when the loader is collected, and before the interpreter ends.
        self._closing = weakref.finalize(self, _close, self._ahead, self._batches)

    def __next__(self) -> Batch:
        batch, self.last_pair_ids = next(self._ahead)
        return batch

    def state(self) -> dict[str, int]:
        """Where the loader stands after the last batch returned. JSON-able, of this host."""
        return dict(self._ahead.get_state())

    def restore(self, state: dict[str, int]) -> None:
        """Goes on as the loader that gave `state` would, also with other workers."""
        self._ahead.set_state(state)
        self.last_pair_ids = []

    def close(self) -> None:
        """Ends the thread and the workers; so does the end of the loader or of the program."""
        self._closing()

    @property
    def counts(self) -> dict[str, int]:
        """Since the start of the run: pairs returned, pairs dropped by reason, tokens without padding."""
        state = self._ahead.get_state()
        return {name: state[name] for name in COUNTS}


def _close(ahead: Ahead[Any], batches: _Batches) -> None:
    ahead.stop()
    batches.close()


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclasses.dataclass(frozen=True)
class _Dropped:
    """A pair that is in no batch."""

    reason: DropReason


@dataclasses.dataclass(frozen=True)
class _Tokenize:
    """Maps a group of records to tokenized or dropped pairs; runs in the workers."""

    tokenizer: Tokenizer
    config: DataConfig

    def __call__(self, group: list[PreferencePair]) -> list[TokenizedPair | _Dropped]:
        texts = [
            text
            for pair in group
            for text in self.tokenizer.format_pair(pair, self.config.template)
        ]
        try:
            rows = self.tokenizer.encode(
                texts,
                append_eos=self.config.append_eos,
                response_alone=self.config.response_window == "paper",
            )
        except Exception as error:
            raise RuntimeError(
                f"cannot tokenize one of the pairs {group[0].pair_id} ... {group[-1].pair_id}: {error}"
            ) from error
        pairs: list[TokenizedPair | _Dropped] = []
        for pair, chosen, rejected in zip(group, rows[::2], rows[1::2], strict=True):
            fitted = transforms.fit_pair(chosen, rejected, self.config)
            if isinstance(fitted, str):
                pairs.append(_Dropped(fitted))
            else:
                pairs.append(TokenizedPair(pair.pair_id, pair.margin, *fitted))
        return pairs


def _start_worker(index: int, count: int) -> None:
    """Runs first in each worker: the workers are the parallelism, so each tokenizes in one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


class _Batches(StatefulIterator[tuple[Batch, list[str]]]):
    """The stateful end of the pipeline: (batch, ids of its pairs), by drop and fill."""

    def __init__(
        self,
        *,
        name: str,
        records: grain.MapDataset,
        tokenizer: Tokenizer,
        config: DataConfig,
        batch_pairs: int,
        num_batches: int | None,
        max_drops: int,
    ):
        self._name = name
        self._records = records
        self._tokenizer = tokenizer
        self._config = config
        self._batch_pairs = batch_pairs
        self._num_batches = num_batches
        self._max_drops = max_drops
        self._state: dict[str, int] = {"next_record": 0, "batches": 0} | dict.fromkeys(COUNTS, 0)
        self._groups: Any = None
        self._pairs: Iterator[TokenizedPair | _Dropped] | None = None

    def get_state(self) -> dict[str, int]:
        """The state after the last batch."""
        return dict(self._state)

    def set_state(self, state: dict[str, int]) -> None:
        """Continues from a state of `get_state`."""
        if set(state) != set(self._state):
            raise UserError(
                f"state of the data loader = {state!r}: must hold {', '.join(self._state)}. Remedy: "
                "restore a checkpoint of this version."
            )
        self.close()
        self._state = {name: int(value) for name, value in state.items()}

    def close(self) -> None:
        """Stops the workers; they start again with the next batch."""
        if self._groups is not None:
            self._groups.close()
        self._groups = self._pairs = None

    def __next__(self) -> tuple[Batch, list[str]]:
        if self._state["batches"] == self._num_batches:
            raise StopIteration
        state = dict(self._state)
        kept: list[TokenizedPair] = []
        drops = 0
        while len(kept) < self._batch_pairs:
            pair = self._next_pair()
            if pair is None:
                break
            state["next_record"] += 1
            if isinstance(pair, TokenizedPair):
                kept.append(pair)
                drops = 0
                continue
            state[pair.reason] += 1
            drops += 1
            if drops == self._max_drops and self._num_batches is None:
                raise UserError(
                    f"{self._name}: no pair was kept of {drops} in a row (in this run {state['too_long']} "
                    f"were dropped as too long, {state['identical']} as identical). Remedy: raise "
                    f"data.max_length ({self._config.max_length}), or set data.length_policy to truncate."
                )
        assert len(kept) == self._batch_pairs or self._num_batches is not None
        state["batches"] += 1
        state["pairs"] += len(kept)
        state["tokens"] += sum(len(pair.chosen.tokens) + len(pair.rejected.tokens) for pair in kept)
        batch = transforms.make_batch(kept, self._batch_pairs, self._config, self._tokenizer.pad_id)
        self._state = state
        return batch, [pair.pair_id for pair in kept]

    def _next_pair(self) -> TokenizedPair | _Dropped | None:
        """The next record's pair; None at the end of the one pass."""
        if self._pairs is None:
            self._open()
        assert self._pairs is not None
        try:
            return next(self._pairs, None)
        except RuntimeError as error:
            if "Worker process was terminated" not in str(error):
                raise
            raise UserError(
                f"{self._name}: a tokenizer process died after record "
                f"{self._state['next_record']} of this host ({error}). Remedy: see whether memory ran "
                "out; data.num_workers = 0 tokenizes in the trainer itself."
            ) from error

    def _open(self) -> None:
        """Starts the workers at the state's record."""
        records = self._records[self._state["next_record"] :]
        if len(records) == 0:
            self._pairs = iter(())
            return
        workers = self._config.num_workers
        groups = (
            records.batch(_GROUP_RECORDS, batch_fn=list)
            .map(_Tokenize(self._tokenizer, self._config))
            .to_iter_dataset(_WORKER_THREADS if workers else _TRAINER_THREADS)
        )
        if workers:
            if not flags.FLAGS.is_parsed():
                # Grain reads absl flags on its way to the workers, and only an absl app parses them.
                flags.FLAGS.mark_as_parsed()
            groups = groups.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
                worker_init_fn=_start_worker,
            )
        self._groups = iter(groups)
        self._pairs = itertools.chain.from_iterable(self._groups)
