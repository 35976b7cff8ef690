"""Readers -> texts -> filters -> dedup -> split by file -> SourceFile shards.

    stage 1   `num_workers` processes, a part of the input at a time: read, cut into texts, filter, take out
              secrets, decontaminate, hash; each part is written whole or not at all   (parts.py)
    stage 2   one process, through the parts in their order: drop duplicates, sort into buckets (merge.py)
    stage 3   one process, a bucket at a time: sort, write as a shard                      (merge.py)

Killed at any time, the same command goes on: it redoes the parts that were in work, and stages 2 and 3. The
result does not depend on kills, nor on the number of processes. Memory: of stage 1 a base of some 150 MB a
process and at most a few files and rows at a time; of stages 2 and 3 what merge.py states.
"""

from __future__ import annotations

import array
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import codepmp_jax
from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CorpusConfig, DescriptionConfig, presets
from codepmp_jax.corpus import merge, parts, readers
from codepmp_jax.corpus.files import as_text
from codepmp_jax.files import output as outputs
from codepmp_jax.files import resume
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records import shards
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.text.decontamination import Decontaminator

REPORT = "report.json"
SAMPLES = "samples.md"
WORK = "work"


def build_corpus(config: CorpusConfig) -> dict[str, Any]:
    """Writes shards, manifest, rejects, samples.md and report.json; returns the report.

    Within a split the sources lie in the order of their ids, so that the first n are a random sample.
    A finished corpus of the same settings is left as it is. Raises UserError where the folder was begun
    with others, where the input cannot be read, and where a split would be empty.
    """
    source = readers.open_input(config)
    settings = _settings(config, source)
    output = outputs.require_folder(config.output)
    _require_ours(output)
    with outputs.errors_of(output), contextlib.ExitStack() as stack:
        resume.claim(output, settings, "give a new folder, or delete this one")
        stack.enter_context(resume.hold(output / ".corpus.lock"))
        if not (output / shards.MANIFEST).is_file():
            try:
                _build(config, source, output)
            except readers.Refused:
                # The next command may bring another input under the same name, or other settings.
                shutil.rmtree(output / WORK, ignore_errors=True)
                (output / resume.SETTINGS).unlink()
                raise
        else:
            print(f"{output}: is finished; nothing to do", file=sys.stderr)
        shutil.rmtree(output / WORK, ignore_errors=True)
        return json.loads((output / REPORT).read_text(encoding="utf-8"))


def _settings(config: CorpusConfig, source: readers.Input) -> dict[str, Any]:
    """What the result depends on."""
    written = _written(config)
    for name in ("output", "num_workers"):
        del written[name]
    if config.description == DescriptionConfig():  # which earlier corpora do not name
        del written["description"]
    return {
        "config": written,
        "codepmp_jax": codepmp_jax.__version__,
        "repository": source.repository,
        "decontamination": Decontaminator(config.decontamination).settings(),
    }


def _written(config: CorpusConfig) -> dict[str, Any]:
    """The config as JSON; of names that are no text what can be written."""
    written = presets.to_json(config)
    for name in ("input", "output"):
        written[name] = written[name] and as_text(written[name])
    return written


def _require_ours(output: pathlib.Path) -> None:
    """Raises UserError where the folder holds a dataset that this command did not write."""
    if not (output / shards.MANIFEST).exists():
        return
    shards.read_manifest(output, SourceFile)
    if not (output / resume.SETTINGS).is_file():
        raise UserError(
            f"{output}: holds a corpus without its {resume.SETTINGS}. Remedy: give a new folder."
        )


def _build(config: CorpusConfig, source: readers.Input, output: pathlib.Path) -> None:
    work = output / WORK
    offsets = _plan(config, source, work)
    todo = [i for i in range(len(offsets)) if not parts.finished_part(work, i).is_file()]
    total, done = len(offsets), len(offsets) - len(todo)
    with progress(total=total, initial=done, desc="read, filter, hash", unit="part") as bar:
        for _ in _write_parts(config, source, work, [(i, offsets[i]) for i in todo]):
            bar.update()
    merging = merge.Merge(config, work, len(offsets))
    merging.dedup(output)
    report = merging.tally.report()
    empty = [split for split in merge.SPLITS if not report["splits"][split]["texts"]]
    if empty:
        raise readers.Refused(
            f"input = {source.place!r}: of {report['files']['found']} files with "
            f"{report['texts']['kept']} texts kept, none fell to the split {' and '.join(empty)} (files "
            f"dropped: {report['files']['dropped']}, texts dropped: {report['texts']['dropped']}; each is "
            f"listed in {output / merge.REJECTS}). Remedy: give more files, or another heldout_fraction or seed."
        )
    written = merging.write_shards(output)
    write_json(output / REPORT, report)
    samples = merging.tally.samples.markdown(report["by_language"])
    (output / SAMPLES).write_text(samples, encoding="utf-8")
    made_by = {
        "command": "launch/corpus.py",
        "config": _written(config),
        "repository": source.repository,
    }
    dropped = report["texts"]["dropped"]
    shards.write_manifest(output, SourceFile, written, made_by, dropped=dropped)


def _plan(config: CorpusConfig, source: readers.Input, work: pathlib.Path) -> array.array:
    """The place of every part in plan.jsonl, which is written first where there is none.

    Raises Refused where there is nothing to read.
    """
    path = work / "plan.jsonl"
    (work / "parts").mkdir(parents=True, exist_ok=True)
    for left in work.glob("parts/*.partial"):  # by a run that was killed
        left.unlink(missing_ok=True)
    if not path.is_file():
        partial = path.with_name(f"{path.name}.partial")
        with open(partial, "w", encoding="utf-8") as file:
            for part in progress(readers.plan(source, config), desc="list", unit="part"):
                # ASCII: names whose bytes are no text come back as they were.
                file.write(json.dumps(part) + "\n")
        partial.replace(path)
    offsets = array.array("q")
    with open(path, "rb") as file:
        place = 0
        for line in file:
            offsets.append(place)
            place += len(line)
    if not offsets:
        raise readers.Refused(
            f"input = {source.place!r}: holds no table and no file in {', '.join(config.languages)} "
            f"outside {', '.join(config.exclude)}. Remedy: give another folder, or change --languages "
            "or --exclude."
        )
    return offsets


def _write_parts(
    config: CorpusConfig, source: readers.Input, work: pathlib.Path, todo: list[tuple[int, int]]
) -> Iterator[int]:
    """Writes the parts (index, place in the plan), in this process or in several; yields as they finish."""
    if config.num_workers == 1 or len(todo) <= 1:
        writer = parts.PartWriter(config, source, work)
        yield from (writer.write(index, offset) for index, offset in todo)
        return
    # The library's threads are of no use where every core has its process.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with concurrent.futures.ProcessPoolExecutor(
        config.num_workers,
        multiprocessing.get_context("spawn"),
        parts.start_process,
        (config, source, work),
    ) as pool:
        waiting: set[concurrent.futures.Future[int]] = set()
        rest = iter(todo)
        try:
            while True:
                for index, offset in rest:
                    waiting.add(pool.submit(parts.write_part, index, offset))
                    if len(waiting) >= 4 * config.num_workers:
                        break
                if not waiting:
                    return
                done, waiting = concurrent.futures.wait(
                    waiting, return_when=concurrent.futures.FIRST_COMPLETED
                )
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise WorkerLostError(
                "num_workers: one of the processes was killed, for want of memory perhaps. Remedy: run the "
                "same command again, with fewer --num-workers; the finished parts are kept."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
