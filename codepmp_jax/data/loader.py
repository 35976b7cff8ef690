"""The loader: records by index, tokenized and packed in workers, stacked to this host's rows of each batch.

    source -> shuffle, reseeded each epoch -> repeat                           (the global order, by index)
           -> every V-th record for stream v, in groups -> tokenized -> rows   (a stream, on its own)
           -> a row of each stream in turn                                     (Grain; worker processes)
           -> this host's rows of a batch                                      (a thread ahead)

The sources of a mixture are each shuffled and dealt like this, and mixed in each stream (data/mixture.py).

Each of the V = data.num_streams streams gives equally many rows of every batch, and host h of H has the
streams from h * V / H to (h + 1) * V / H. So batches depend neither on hosts nor on workers, and a stream's
state, which comes with each of its rows, is all that a checkpoint needs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import os
import signal
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import grain
from absl import flags

from codepmp_jax.cli import streams
from codepmp_jax.cli.errors import UserError, WorkerLostError, require
from codepmp_jax.config import DataConfig
from codepmp_jax.data.ahead import Ahead, StatefulIterator
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.drops import Dropped, Limit
from codepmp_jax.data.item_kind import ItemKind, Part
from codepmp_jax.data.layouts import Layout, layout_of
from codepmp_jax.data.mixture import Drawn, Mixture
from codepmp_jax.data.packing import (
    LIMITED,
    PackedRow,
    counts_of,
    new_state,
    pack,
    source_counts,
    waiting_records,
)
from codepmp_jax.data.tokenized_item import TokenizedItem
from codepmp_jax.data.transforms import tokenize
from codepmp_jax.files import resume
from codepmp_jax.text.tokenization import REMARKS, Tokenizer

# Records tokenized in one call: enough to keep the cores busy, few enough to start and seek fast.
GROUP_RECORDS = 64
# Groups that a stream reads ahead, in a thread of its own.
_GROUPS_AHEAD = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
# Rows made ahead, of each stream and of each worker process.
_ROWS_AHEAD = 4
# Batches made ahead of the step.
_BATCHES_AHEAD = 2
# Counts that states of older checkpoints lack.
_ADDED_COUNTS = dict.fromkeys(("refused", *REMARKS, *LIMITED), 0)


class Loader(Iterator[Batch]):
    """One host's rows of the batches, epochs without end."""

    kind: ItemKind
    """What its rows are packed from."""
    last_record_ids: list[str]
    """Ids of the records in the batch that came last, item by item and row by row."""
    last_refused: list[Dropped]
    """Records that were refused on the way to it."""

    def __init__(
        self,
        source: Sequence[Any],
        tokenizer: Tokenizer,
        config: DataConfig,
        *,
        batch_rows: int,
        layout: Layout | None = None,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """`source` has records of layout.kind. `batch_rows` are those of the global batch; in it they are ordered by
        stream. `layout` is one of `config`, by default of pairs, with labels of chosen and no companions.

        Raises UserError where the streams do not divide over the hosts or the rows over the streams, where
        the source is empty, or where the tokenizer cannot append the EOS asked for.
        """
        require(batch_rows > 0, "batch_rows", batch_rows, "must be positive", "raise it")
        require(0 <= seed < 2**32, "seed", seed, "must lie in [0, 2^32)", "pick another")
        require(
            config.num_streams % process_count == 0,
            "data.num_streams",
            config.num_streams,
            f"must be divisible by the number of hosts ({process_count}), each of which reads its own streams",
            f"set it to {process_count}, or to a multiple of it",
        )
        require(
            batch_rows % config.num_streams == 0,
            "data.num_streams",
            config.num_streams,
            f"must divide the rows of a batch ({batch_rows})",
            "pick a divisor",
        )
        assert 0 <= process_index < process_count
        layout = layout or layout_of(config)
        parts = source.parts if isinstance(source, Mixture) else {"": source}
        for part in parts.values():
            if len(part) == 0:
                raise UserError(
                    f"{part!r}: holds no {layout.kind.noun}s. Remedy: give a dataset that does."
                )
        if config.append_eos:
            tokenizer.require_eos(layout.kind.eos_may_be_pad)
        self._sources = [name for name in parts if name]
        limits = {name: Limit.of(part, config.num_streams) for name, part in parts.items()}
        num_streams = config.num_streams // process_count
        self._own = slice(process_index * num_streams, (process_index + 1) * num_streams)
        self._num_streams = config.num_streams
        streams = [
            functools.partial(_Stream, records, tokenizer, layout, limits)
            for records in _deal(source, config, seed)
        ]
        self.last_record_ids, self.last_refused = [], []
        self.kind = layout.kind
        self._batches = _Batches(
            ", ".join(limit.name for limit in limits.values()),
            streams[self._own],
            config.num_workers,
            batch_rows // config.num_streams,
            new_state(self.kind.unit, self._sources),
        )
        self._ahead = Ahead(self._batches, _BATCHES_AHEAD)
        # Also when the loader is collected, and before the interpreter ends.
        self._closing = weakref.finalize(self, _close, self._ahead, self._batches)

    def __next__(self) -> Batch:
        batch, self.last_record_ids, self.last_refused = next(self._ahead)
        return batch

    def state(self) -> list[dict[str, Any]]:
        """State of this host's streams after the last batch returned. JSON-able."""
        return copy.deepcopy(self._ahead.get_state())

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Goes on where the streams gave `states`, those of all hosts, also on other hosts or workers.

        Raises UserError where they are not the states of as many streams.
        """
        require(
            len(states) == self._num_streams,
            "data.num_streams",
            self._num_streams,
            f"must be {len(states)}, as when the state of the data loader was saved",
            "set it back; the number of hosts may differ",
        )
        expected = new_state(self.kind.unit, self._sources)
        states = [self._of_this_version(state) for state in states]
        for state in states:
            _check_state(state, expected)
        self._ahead.set_state(copy.deepcopy(list(states[self._own])))
        self.last_record_ids, self.last_refused = [], []

    def _of_this_version(self, state: Any) -> Any:
        """A state of an older checkpoint, where counts may lack and records that wait have one part each; and, as that
        of another mixture, with the counts of this one's sources."""
        try:
            waiting = [[one, 0] if isinstance(one, int) else one for one in state["waiting"]]
            of_sources = dict.fromkeys(source_counts(self.kind.unit, self._sources), 0)
            known = {name: n for name, n in state.items() if "/" not in name or name in of_sources}
            return _ADDED_COUNTS | of_sources | known | {"waiting": waiting}
        except (TypeError, KeyError, AttributeError):
            return state

    def close(self) -> None:
        """Ends the threads and the workers; so does the end of the loader or of the program."""
        self._closing()

    @property
    def counts(self) -> dict[str, int]:
        """This host's counts since the start of the run (packing.count_names, and source_counts of a mixture), of the
        rows returned and of the records dropped on the way; and `records`, all that were packed or dropped."""
        return total_counts(self._ahead.get_state())


def _close(ahead: Ahead[Any], batches: _Batches) -> None:
    ahead.stop()
    batches.close()


def _deal(source: Sequence[Any], config: DataConfig, seed: int) -> list[grain.MapDataset[Any]]:
    """The records of each stream, without end, by index; of a mixture Drawn."""
    num_streams = config.num_streams
    if isinstance(source, Mixture):
        return [
            source.stream(v, num_streams, shuffle=config.shuffle, seed=seed)
            for v in range(num_streams)
        ]
    records = grain.MapDataset.source(source)
    if config.shuffle:
        records = records.seed(seed).shuffle()
    records = records.repeat()
    return [records[v::num_streams] for v in range(num_streams)]


def total_counts(states: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The counts of streams in these states together, and `records`, all that were packed or dropped whole."""
    counts = {name: sum(state[name] for state in states) for name in counts_of(states[0])}
    records = sum(state["next_record"] - len(waiting_records(state)) for state in states)
    return counts | {"records": records}


def _check_state(state: Any, expected: dict[str, Any]) -> None:
    """Raises UserError unless `state` is one that a stream gave, with the entries of `expected`."""

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and value >= 0

    if not (
        isinstance(state, dict)
        and state.keys() == expected.keys()
        and isinstance(state["waiting"], list)
        and all(is_count(n) for name, n in state.items() if name != "waiting")
        and all(
            isinstance(one, list)
            and len(one) == 2
            and all(map(is_count, one))
            and one[0] < state["next_record"]
            for one in state["waiting"]
        )
    ):
        raise UserError(
            f"state of the data loader = {state!r}: must hold {', '.join(expected)}. Remedy: restore a "
            "checkpoint of this version."
        )


class _Stream(grain.IterDataset[PackedRow]):
    """The rows of one stream, on from `start`."""

    def __init__(
        self,
        records: grain.MapDataset[Any],
        tokenizer: Tokenizer,
        layout: Layout,
        limits: Mapping[str, Limit],
        start: dict[str, Any],
    ):
        """`records` are of layout.kind, of a mixture Drawn; `limits` are by the sources' names, "" without a mixture."""
        super().__init__()
        self.records = records
        self.tokenizer = tokenizer
        self.layout = layout
        self.limits = limits
        self.start = start

    def __iter__(self) -> _StreamIterator:
        return _StreamIterator(self)

    def groups(self, next_record: int) -> grain.DatasetIterator:
        """Tokenized groups of the records from `next_record` on."""
        groups = self.records[next_record:].batch(GROUP_RECORDS, batch_fn=list).map(self.tokenize)
        return iter(groups.to_iter_dataset(_GROUPS_AHEAD))

    def tokenize(self, records: list[Any]) -> list[list[Part]]:
        """Their items, or why they are dropped."""
        drawn = [one if isinstance(one, Drawn) else Drawn("", one) for one in records]
        tokenized = tokenize([record for _, record in drawn], self.tokenizer, self.layout)
        return [
            [_with_source(part, source) for part in parts] if source else parts
            for (source, _), parts in zip(drawn, tokenized, strict=True)
        ]


def _with_source(part: Part, source: str) -> Part:
    if isinstance(part, Dropped):
        return part._replace(source=source)
    return dataclasses.replace(cast(Any, part), source=source)


class _StreamIterator(grain.DatasetIterator[PackedRow]):
    """Opens the stream with the first row that is asked for, so that errors come in their place."""

    def __init__(self, stream: _Stream):
        super().__init__()
        self._stream = stream
        self._groups: grain.DatasetIterator | None = None
        self._rows: Iterator[PackedRow] | None = None
        self._state = stream.start

    def __next__(self) -> PackedRow:
        if self._rows is None:
            self._rows = pack(
                self._parts(), self._stream.layout, self._stream.tokenizer.pad_id, self._state
            )
        row = next(self._rows)
        self._state = row.state
        return row

    def get_state(self) -> dict[str, Any]:
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        self._end()
        self._state = state

    def close(self) -> None:
        super().close()
        self._end()

    def _end(self) -> None:
        if self._groups is not None:
            self._groups.close()
        self._groups = self._rows = None

    def _parts(self) -> Iterator[list[Part]]:
        """Those of the records that wait, read again, then of the next ones; gives up where none of a source is kept."""
        stream, state = self._stream, self._state
        if waiting := waiting_records(state):
            yield from stream.tokenize([stream.records[i] for i in waiting])
        self._groups = stream.groups(state["next_record"])
        config, noun = stream.layout.config, stream.layout.kind.noun
        dropped: dict[str, list[Dropped]] = {name: [] for name in stream.limits}
        for parts in itertools.chain.from_iterable(self._groups):
            source = parts[0].source
            for part in parts:
                if isinstance(part, TokenizedItem):
                    dropped[source] = []
                else:
                    dropped[source].append(part)
            stream.limits[source].require_kept(dropped[source], config, noun)
            yield parts


def _start_worker(index: int, count: int) -> None:
    """Runs first in each worker: the workers are the parallelism, so each tokenizes in one thread.

    SIGTERM to the whole group of processes is the trainer's affair, which reads on until it has saved.
    """
    streams.guard()
    resume.end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


class _Batches(StatefulIterator[tuple[Batch, list[str], list[Dropped]]]):
    """Batches of the host's streams, with the ids of their records and those refused on the way; the state is
    that of each stream."""

    def __init__(
        self,
        name: str,
        streams: Sequence[Callable[[dict[str, Any]], _Stream]],
        num_workers: int,
        stream_rows: int,
        start: dict[str, Any],
    ):
        """`streams` open each stream at a state, at first `start`; each gives `stream_rows` rows of a batch."""
        self._name = name
        self._streams = streams
        # Workers have equally many streams, so that the streams' rows come in turn.
        divisors = (n for n in range(1, num_workers + 1) if len(streams) % n == 0)
        self._num_workers = max(divisors, default=0)
        self._stream_rows = stream_rows
        self._states = [copy.deepcopy(start) for _ in streams]
        self._rows: Any = None

    def get_state(self) -> list[dict[str, Any]]:
        """The streams' states after the last batch."""
        return self._states

    def set_state(self, state: list[dict[str, Any]]) -> None:
        """Continues from a state of `get_state`."""
        self.close()
        self._states = state

    def close(self) -> None:
        """Stops the workers; they start again with the next batch."""
        if self._rows is not None:
            self._rows.close()
        self._rows = None

    def __next__(self) -> tuple[Batch, list[str], list[Dropped]]:
        if self._rows is None:
            self._open()
        num_streams = len(self._streams)
        in_turn = [self._next_row() for _ in range(num_streams * self._stream_rows)]
        self._states = [row.state for row in in_turn[-num_streams:]]
        rows = [row for v in range(num_streams) for row in in_turn[v::num_streams]]
        ids = [name for row in rows for name in row.record_ids]
        refused = [one for row in rows for one in row.refused]
        return concatenate([row.row for row in rows]), ids, refused

    def _next_row(self) -> PackedRow:
        try:
            return next(self._rows)
        except RuntimeError as error:
            if "Worker process was terminated" not in str(error):
                raise
            records = total_counts(self._states)["records"]
            raise WorkerLostError(
                f"{self._name}: a tokenizer process was killed after record {records} of this host ({error}). "
                "Remedy: start again, from the newest checkpoint; if memory ran out, with fewer data.num_workers (0 "
                "tokenizes in the trainer itself)."
            ) from error

    def _open(self) -> None:
        """Starts the workers at the states."""
        streams = [stream(state) for stream, state in zip(self._streams, self._states, strict=True)]
        rows: grain.IterDataset = grain.experimental.InterleaveIterDataset(
            streams,
            cycle_length=len(streams),
            make_iter_buffer_size=len(streams),
            iter_buffer_size=_ROWS_AHEAD,
        )
        if self._num_workers:
            if not flags.FLAGS.is_parsed():
                # Grain reads absl flags on its way to the workers, and only an absl app parses them.
                flags.FLAGS.mark_as_parsed()
            rows = rows.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self._num_workers, per_worker_buffer_size=_ROWS_AHEAD
                ),
                worker_init_fn=_start_worker,
            )
        self._rows = iter(rows)
