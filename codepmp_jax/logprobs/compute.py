"""Pair shards -> token log-probs of their responses under a model.

    OUTPUT/settings.json      what they are of and how they are computed, from the first pair on
    OUTPUT/SPLIT-....safetensors   parts, each written whole: the same command resumes behind them
    OUTPUT/manifest.json      once all parts are there

Pairs are written, cut and packed as training does it, and dropped where it drops them; in the layout `shared` a prompt
is computed once. Every host packs all rows, and computes its share of each batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

import codepmp_jax
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import LogProbsConfig
from codepmp_jax.data import drops
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.layouts import Layout, layout_of
from codepmp_jax.data.log_probs import text_settings
from codepmp_jax.data.one_pass import OnePass, one_pass
from codepmp_jax.data.pairs import POLICY_PAIRS
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.files import output as outputs
from codepmp_jax.files import resume, storage
from codepmp_jax.records.log_probs import ORIGIN, RECORD, PairLogProbs, write_part
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import MANIFEST, ShardedDataset, read_manifest
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import telemetry


@runtime_checkable
class Backend(Protocol):
    """A model that gives log-probs of labels."""

    tokenizer: Tokenizer
    vocab_size: int
    facts: dict[str, Any]
    """What is computed and how; `weights` is the sha256 of the model's weights."""
    num_rows: int
    """Rows of a batch, over all hosts."""
    is_main: bool
    """Whether this host writes."""

    def agreed(self, value: Any) -> Any:
        """The main host's JSON value, on every host."""
        ...

    def log_probs(self, batch: Batch) -> Float32[np.ndarray, "B C"]:
        """log p of each label of a global batch, on every host; anything where there is no label."""
        ...


def run(config: LogProbsConfig) -> None:
    """Writes the output, or says that it is there already.

    Raises UserError where model, input and output do not allow it, or a log-prob is not finite.
    """
    for name in ("model", "input", "output"):
        value = getattr(config, name)
        require(value != "", name, value, "must be given", f"add --{name} PATH")
    if config.backend == "torch":
        from codepmp_jax.logprobs.torch_backend import TorchBackend

        telemetry.setup_logging()
        with _held(config.output):
            _compute(config, TorchBackend.load(config))
        return
    import jax

    from codepmp_jax.devices import hosts
    from codepmp_jax.logprobs.jax_backend import JaxBackend

    hosts.join()
    telemetry.setup_logging()
    is_main = jax.process_index() == 0
    with hosts.leaving_on_error(), _held(config.output) if is_main else contextlib.nullcontext():
        _compute(config, JaxBackend.load(config))


@contextlib.contextmanager
def _held(output: str) -> Iterator[None]:
    """Holds a folder on a disk, which is refused here where it can be none. In a bucket nothing is held."""
    with contextlib.nullcontext() if storage.is_bucket(output) else outputs.folder(output):
        yield


def _compute(config: LogProbsConfig, backend: Backend) -> None:
    tokenizer, data = backend.tokenizer, config.data
    require(
        not tokenizer.writes_date or data.date is not None,
        "data.date",
        data.date,
        f"must be given: the chat template of {tokenizer.name} writes the date",
        "give a day YYYY-MM-DD, and the training the same",
    )
    require(
        tokenizer.vocab_size <= backend.vocab_size,
        "data.tokenizer",
        data.tokenizer,
        f"has {tokenizer.vocab_size} tokens, and the model embeddings of {backend.vocab_size}",
        "give the tokenizer that belongs to the model",
    )
    splits = {
        split: ShardedDataset(config.input, PreferencePair, split, data.verify_shards)
        for split in read_manifest(config.input, PreferencePair)["splits"]
    }
    shards = [shard.sha256 for records in splits.values() for shard in records.shards]
    settings = {
        ORIGIN: {
            "shards": shards,
            "weights": backend.facts["weights"],
            "tokenizer": tokenizer.parts(),
            "texts": text_settings(data),
        },
        "computed": {
            "backend": config.backend,
            "dtype": config.dtype,
            "layout": data.layout,
            "row_length": data.row_length,
            "pairs_per_part": config.pairs_per_part,
        },
    }
    finished = backend.agreed(_finished(config, settings) if backend.is_main else None)
    if finished is None:
        if backend.is_main:
            print(f"{config.output}: was written before, by the same model, input and settings")
        return
    started = time.monotonic()
    layout = layout_of(data, SIDES, kind=POLICY_PAIRS)
    parts: dict[str, list[dict[str, Any]]] = {}
    totals: dict[str, int] = dict.fromkeys(("pairs", *drops.DROP_REASONS), 0)
    num_records = sum(map(len, splits.values()))
    bar = progress(total=num_records, desc="log-probs", unit="pair", disable=not backend.is_main)
    with bar:
        for split, records in splits.items():
            parts[split] = []
            for part in _parts_of(split, len(records), config.pairs_per_part):
                entry = finished.get(part.name) or _compute_part(
                    config, backend, records, layout, part
                )
                parts[split].append(entry)
                for name in totals:
                    totals[name] += entry[name]
                bar.update(len(part.indices))
    require(
        totals["pairs"] > 0,
        "input",
        config.input,
        f"has no pair with log-probs: {drops.describe(totals, data)}",
        "give other pairs, or the data settings of the training",
    )
    if not backend.is_main:
        return
    manifest = {
        "record": RECORD,
        "codepmp_jax": codepmp_jax.__version__,
        **settings,
        "model": config.model,
        "input": config.input,
        **backend.facts,
        "counts": totals,
        "splits": parts,
    }
    path = storage.to_path(config.output) / MANIFEST
    with storage.storage_errors(path, "written"):
        storage.write_text(path, json.dumps(manifest, indent=1) + "\n")
    dropped = drops.describe(totals, data)
    print(
        f"log-probs of {totals['pairs']} of {num_records} pairs{f'; {dropped}' if dropped else ''} in "
        f"{time.monotonic() - started:.1f} s -> {config.output}"
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Consecutive pairs of a split."""

    name: str
    indices: range


def _parts_of(split: str, num_records: int, size: int) -> list[_Part]:
    starts = range(0, num_records, size)
    return [
        _Part(
            f"{split}-{i:05d}-of-{len(starts):05d}.safetensors",
            range(start, min(num_records, start + size)),
        )
        for i, start in enumerate(starts)
    ]


def _finished(config: LogProbsConfig, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The entries of the parts that are there, by name; None where all of the output is. Raises UserError where it was
    begun with other settings; else these are written down."""
    folder = storage.to_path(config.output)
    with storage.storage_errors(folder, "written"):
        for name in (MANIFEST, resume.SETTINGS):
            if (folder / name).is_file():
                before = json.loads((folder / name).read_bytes())
                _require_same(config, {key: before.get(key) for key in settings}, settings)
                if name == MANIFEST:
                    return None
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_text(folder / resume.SETTINGS, json.dumps(settings, indent=1) + "\n")
        entries = [name for name in storage.files(folder) if name.endswith(".safetensors.json")]
        found = [json.loads((folder / name).read_bytes()) for name in entries]
    return {entry["name"]: entry for entry in found}


def _require_same(config: LogProbsConfig, before: dict[str, Any], now: dict[str, Any]) -> None:
    difference = resume.describe_difference(before, json.loads(json.dumps(now)))
    if difference:
        raise UserError(
            f"{config.output}: was begun with other settings: {difference}. Remedy: give another --output, or delete "
            "that folder to begin anew."
        )


def _compute_part(
    config: LogProbsConfig,
    backend: Backend,
    records: Sequence[PreferencePair],
    layout: Layout,
    part: _Part,
) -> dict[str, Any]:
    """Computes and writes a part; its entry."""
    some = [records[i] for i in part.indices]
    packed = one_pass(
        some,
        backend.tokenizer,
        layout,
        batch_rows=backend.num_rows,
        process_index=0,
        process_count=1,
    )
    found = of_items(packed, [backend.log_probs(batch) for batch in packed.batches])
    for (number, _), one in zip(packed.items, found, strict=True):
        require(
            bool(np.isfinite(one.sums).all()),
            f"pair {some[number].pair_id}: log-probs",
            one.sums.tolist(),
            "must be finite",
            "the model's weights are damaged, or try --dtype float32",
        )
    entry = {"name": part.name} | {
        name: packed.counts[name] for name in ("pairs", *drops.DROP_REASONS)
    }
    if backend.is_main:
        path = storage.to_path(config.output) / part.name
        write_part(path, [some[number] for number, _ in packed.items], found)
        # After it: an entry says that its part is whole.
        storage.write_text(f"{path}.json", json.dumps(entry) + "\n")
    return entry


def of_items(
    packed: OnePass, log_probs: Sequence[Float32[np.ndarray, "B C"]]
) -> list[PairLogProbs]:
    """The log-probs of each pair, in the pairs' order, from those of the batches' labels."""
    found: dict[int, PairLogProbs] = {}
    for batch, numbers, values in zip(packed.batches, packed.numbers, log_probs, strict=True):
        for row in range(len(numbers)):
            for place in np.flatnonzero(numbers[row] >= 0):
                sides = [
                    values[row][batch.label_mask[row] & (batch.label_texts[row] == 2 * place + i)]
                    for i in range(2)
                ]
                found[int(numbers[row, place])] = PairLogProbs(
                    np.array([len(side) for side in sides], np.int32),
                    # In float64, so that a long response's sum is right to float32.
                    np.array([side.sum(dtype=np.float64) for side in sides], np.float32),
                    np.concatenate(sides),
                )
    return [found[number] for number in range(len(found))]
