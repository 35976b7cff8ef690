"""SourceFile shards -> PreferencePair shards: three passes, then the gate.

OUTPUT/passes/                                  the writers' texts (codepmp_jax.synthesis.passes)
OUTPUT/settings.json                            what the pairs depend on
OUTPUT/train.array_record-00000-of-00004        the pairs of corpus shard 0; beside it .json: counts
OUTPUT/rejects/train.array_record-00000-of-00004.jsonl   its sources without a pair, and why
OUTPUT/report.json, report.html, manifest.json             once all shards are there
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import json
import pathlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DedupConfig, SynthesisConfig, presets
from codepmp_jax.files import output as outputs
from codepmp_jax.files import resume
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.files.json_files import write_json, write_lines
from codepmp_jax.records import shards
from codepmp_jax.records.schema import Completion, PreferencePair, SourceFile, content_id
from codepmp_jax.records.shards import Shard, ShardedDataset
from codepmp_jax.synthesis import engines
from codepmp_jax.synthesis.gate import Gate
from codepmp_jax.synthesis.passes import DESCRIBE, PASSES, SPLITS, Pass, PassWorker, ShardId
from codepmp_jax.synthesis.reports import report
from codepmp_jax.synthesis.reports.report_page import write_page
from codepmp_jax.synthesis.reports.status import Board, Status
from codepmp_jax.text.near_duplicates import signature

REPORT, PAGE = "report.json", "report.html"
_CHUNK = 512
# Train pairs, from the first, that the report's samples are taken of, or more where report_pairs is.
_SAMPLED = 1000


def synthesize(config: SynthesisConfig) -> dict[str, Any] | None:
    """Does what is left of the passes and the gate; returns the report, which it writes with the manifest.

    With `worker` I/N it does this worker's shards: None while shards of others are missing. Raises
    UserError where the output was begun with other settings, the input is no corpus, a writer cannot
    work, or no pair comes out.
    """
    corpus = {split: ShardedDataset(config.input, SourceFile, split, False) for split in SPLITS}
    with outputs.errors_of(outputs.require_folder(config.output)):
        return _synthesize(config, corpus)


def _synthesize(
    config: SynthesisConfig, corpus: Mapping[str, ShardedDataset]
) -> dict[str, Any] | None:
    sizes = {
        ShardId(split, number, len(dataset.shards)): shard.num_records
        for split, dataset in corpus.items()
        for number, shard in enumerate(dataset.shards)
    }
    if config.report_pairs:
        signature("", DedupConfig())  # told now rather than at the end: is its library there?
    settings = _claim(config, corpus)
    index, count = map(int, config.worker.split("/"))
    own = list(sizes)[index::count]
    todo = [shard for shard in own if not _is_finished(config, shard, settings)]
    if todo:
        pathlib.Path(config.output, shards.MANIFEST).unlink(missing_ok=True)
    command = uuid.uuid4().hex
    for name in PASSES:
        which = Pass(config, name)
        left = [shard for shard in todo if not which.is_finished(shard)]
        done = sum(
            which.num_done(shard, sizes[shard]) if shard in left else sizes[shard] for shard in own
        )
        gpus = which.writer.vllm.tensor_parallel if which.writer.sampler == "vllm" else 0
        with Board(config.output, command, name, sum(sizes[shard] for shard in own), done):
            engines.run(config, functools.partial(PassWorker, which, command), left, gpus)
    done = sum(sizes[shard] for shard in own if shard not in todo)
    with Board(config.output, command, "gate", sum(sizes[shard] for shard in own), done):
        engines.run(config, functools.partial(GateWorker, config, settings, command), todo, gpus=0)
    with resume.hold(pathlib.Path(config.output, ".lock")):
        if not all(_entry(config, shard, settings) for shard in sizes):
            return None
        return _publish(config, settings, list(sizes))


def _claim(config: SynthesisConfig, corpus: Mapping[str, ShardedDataset]) -> str:
    """Notes what the texts and the pairs depend on, or refuses to go on with other settings.

    Returns the id of the pairs' settings.
    """
    output = pathlib.Path(config.output)
    shared: dict[str, Any] = {
        "corpus": {
            split: [shard.sha256 for shard in dataset.shards] for split, dataset in corpus.items()
        }
    }
    passes = {name: Pass(config, name).settings() for name in PASSES}
    for name in PASSES:
        directory = Pass(config, name).directory
        # Both responses depend on who described.
        used = {DESCRIBE: passes[DESCRIBE], name: passes[name]}
        remedy = f"give another --output, go back to those settings, or delete {directory}"
        resume.claim(directory, shared | used, remedy)
    settings = shared | passes | {"gate": Gate(config.gate, config.decontamination).settings()}
    remedy = (
        f"give another --output, go back to those settings, or delete {output / resume.SETTINGS}: "
        "then the pairs are made anew, from the texts that are there"
    )
    resume.claim(output, settings, remedy)
    return content_id(json.dumps(settings, sort_keys=True))


def _entry(config: SynthesisConfig, shard: ShardId, settings: str) -> dict[str, Any] | None:
    """The entry next to a pair shard of these settings; None where there is none."""
    path = pathlib.Path(config.output, shard.name)
    beside = path.with_name(f"{path.name}.json")
    if not path.is_file() or not beside.is_file():
        return None
    entry = json.loads(beside.read_text(encoding="utf-8"))
    return entry if entry.get("settings") == settings else None


def _is_finished(config: SynthesisConfig, shard: ShardId, settings: str) -> bool:
    """Whether the shard's pairs are there and whole."""
    entry = _entry(config, shard, settings)
    path = pathlib.Path(config.output, shard.name)
    return entry is not None and sha256_of(path) == entry["sha256"]


# --- a shard --------------------------------------------------------------------------------------


class GateWorker:
    """Makes the pairs of shards whose passes are finished."""

    def __init__(self, config: SynthesisConfig, settings: str, command: str):
        """`settings` is their id, `command` that of the command that the worker belongs to."""
        self._config = config
        self._settings = settings
        self._gate = Gate(config.gate, config.decontamination)
        self._status = Status(config.output, command)

    def __call__(self, shard: ShardId) -> None:
        """Writes the shard's pairs and rejects, unless another worker has."""
        output = pathlib.Path(self._config.output)
        with resume.hold(output / "rejects" / f".{shard.name}.lock"):
            if _is_finished(self._config, shard, self._settings):
                return
            texts = {name: Pass(self._config, name).completions(shard) for name in PASSES}
            pairs: list[PreferencePair] = []
            rejects: list[dict[str, str]] = []
            for source in shard.sources(self._config.input):
                of_source = {
                    name: texts[name].get(source.source_id, Completion("", "", "missing"))
                    for name in PASSES
                }
                verdict = self._gate.judge(of_source, source.language)
                if verdict is None:
                    pairs.append(make_pair(source, of_source))
                else:
                    rejects.append({"source_id": source.source_id, **verdict._asdict()})
            write_lines(output / "rejects" / f"{shard.name}.jsonl", rejects)
            tally: report.Tally = collections.Counter()
            for start in range(0, len(pairs), _CHUNK):
                tally.update(report.tally(pairs[start : start + _CHUNK]))
            dropped = collections.Counter(row["reason"] for row in rejects)
            shards.write_shard(
                output,
                shard.name,
                pairs,
                settings=self._settings,
                dropped=dropped,
                tally=tally,
            )
            self._status.add(len(pairs) + len(rejects), 0)

    def close(self) -> None:
        """Nothing is held."""


def make_pair(source: SourceFile, texts: Mapping[str, Completion]) -> PreferencePair:
    """The pair of a source. `texts` are what the passes describe, chosen and rejected made of it."""
    prompt, chosen, rejected = (texts[name].text for name in PASSES)
    rate = texts["rejected"].facts.get("rate")
    return PreferencePair(
        pair_id=content_id(prompt, chosen, rejected),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        subset=source.language if rate is None else f"rate {rate:.2f}",
        source_id=source.source_id,
        lineage={
            "repository": source.repository,
            "stars": source.stars,
            "path": source.path,
            "line": source.line,
            "license": source.license,
            "language": source.language,
            "kind": source.kind,
            "name": source.name,
            **{name: _lineage(completion) for name, completion in texts.items()},
        },
    )


def _lineage(completion: Completion) -> dict[str, Any]:
    """How a text was written."""
    counted = {
        name: getattr(completion, name)
        for name in ("finish_reason", "num_prompt_tokens", "num_tokens")
        if getattr(completion, name)
    }
    return completion.facts | counted


# --- the dataset ----------------------------------------------------------------------------------


def _publish(
    config: SynthesisConfig, settings: str, all_shards: Sequence[ShardId]
) -> dict[str, Any]:
    """Writes report.json and the manifest, which makes the dataset whole."""
    output = pathlib.Path(config.output)
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for shard in all_shards:
        entry = _entry(config, shard, settings)
        assert entry is not None
        entries[shard.split].append(entry)
    first = itertools.chain.from_iterable(
        shards.read_shard(output / entry["name"], PreferencePair) for entry in entries["train"]
    )
    pairs = list(itertools.islice(first, max(config.report_pairs, _SAMPLED)))
    sample = pairs[: config.report_pairs]
    rates = report.near_duplicate_rates(sample) if sample else {}
    samples = report.sample_of(pairs)
    made = report.make_report(entries, _throughput(config), rates, samples)
    write_json(output / REPORT, made)
    write_page(made, output / PAGE)
    if made["train"]["pairs"] == 0:
        reasons = ", ".join(f"{name} {count}" for name, count in made["train"]["dropped"].items())
        raise UserError(
            f"{output}: the gate let no train pair through ({reasons}). Remedy: look into "
            f"{output / 'rejects'}, then change the writers or the gate."
        )
    shards.write_manifest(
        output,
        PreferencePair,
        {
            split: [
                Shard(**{field.name: entry[field.name] for field in dataclasses.fields(Shard)})
                for entry in of_split
            ]
            for split, of_split in entries.items()
        },
        {"command": "launch/synthesize.py", "config": presets.to_json(config)},
        dropped={split: made[split]["dropped"] for split in SPLITS},
    )
    return made


def _throughput(config: SynthesisConfig) -> Iterator[dict[str, Any]]:
    """What each chunk cost its worker; the author's texts cost nothing."""
    for which in (Pass(config, name) for name in PASSES):
        if which.writer.sampler == "author":
            continue
        for path in sorted(which.directory.glob("*/*.array_record.json")):
            entry = json.loads(path.read_text(encoding="utf-8"))
            counts = {key: entry[key] for key in ("worker", "texts", "tokens", "seconds")}
            yield {"pass": which.name} | counts
