"""Synthesis killed at random points, any of its processes: the pairs are those of an undisturbed run."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import random
import signal
import sys
import time

import pytest

from codepmp_jax.cli.exit_codes import WORKER_LOST
from codepmp_jax.records.schema import PreferencePair, SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from tests.e2e.launching import environment
from tests.processes import GRACE_SECONDS, Process, is_alive
from tests.synthesis.writers.fakes import FAILS, FAILS_ONCE, RAISES, answered, fate

ROOT = pathlib.Path(__file__).parents[2]
CHUNK = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pathlib.Path:
    """480 sources in five shards."""
    folder = tmp_path_factory.mktemp("kills") / "corpus"
    sources = [
        SourceFile(
            content_id(str(i)),
            f"def f{i}(x):\n    return x + {i}\n",
            f"Adds {i}.",
            f"f{i}",
            "function",
            "python",
            "r",
            f"{i}.py",
            "MIT",
            1,
        )
        for i in range(480)
    ]
    splits = {
        "train": write_split(folder, "train", sources[:400], 4),
        "heldout": write_split(folder, "heldout", sources[400:], 1),
    }
    write_manifest(folder, SourceFile, splits, {})
    return folder


def start(corpus, output, workers: int = 1, seconds: float = 0.0) -> Process:
    """The command. Two passes have the tests' sampler."""
    arguments = ["--input", corpus, "--output", output, "--chunk-size", CHUNK, "--workers", workers]
    for name in ("describe", "rejected"):
        arguments += [f"--{name}.sampler", "openai", f"--{name}.model", "none"]
    script = [sys.executable, "-m", "tests.e2e.synthesize_slowly", f"{output}.log", str(seconds)]
    return Process([*script, *arguments], environment(), ROOT)


def finish(corpus, output, workers: int = 1) -> None:
    with start(corpus, output, workers) as process:
        assert process.wait() == 0, process.stderr


def pairs(output) -> dict[str, list[PreferencePair]]:
    return {
        split: list(ShardedDataset(output, PreferencePair, split)) for split in ("train", "heldout")
    }


def rejects(output) -> list[str]:
    """Lines of the rejects tables, without what the sampler said of itself."""
    return [
        line
        for path in sorted((output / "rejects").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("undisturbed") / "pairs"
    finish(corpus, output)
    return output


def test_an_undisturbed_run_loses_nothing(corpus, undisturbed):
    found = pairs(undisturbed)
    kept = {pair.source_id for split in found.values() for pair in split}
    rows = [json.loads(line) for line in rejects(undisturbed)]
    rejected = {row["source_id"]: row["reason"] for row in rows}
    sources = [
        source.source_id
        for split in ("train", "heldout")
        for source in ShardedDataset(corpus, SourceFile, split)
    ]
    assert kept.isdisjoint(rejected)
    assert kept | rejected.keys() == set(sources)
    for source_id in sources:
        fates = [fate(f"{name}/{source_id}") for name in ("describe", "rejected")]
        expected = None
        for name, found_fate in zip(("describe", "rejected"), fates, strict=True):
            reasons = {RAISES: f"{name}: error", FAILS: f"{name}: refused by the server"}
            expected = expected or reasons.get(found_fate)
        assert rejected.get(source_id) == expected
    assert FAILS_ONCE in {fate(f"rejected/{source_id}") for source_id in kept}
    assert collections.Counter(rejected.values()).keys() == {
        f"{name}: {reason}"
        for name in ("describe", "rejected")
        for reason in ("error", "refused by the server")
    }


def test_two_commands_at_once_write_each_text_once(corpus, undisturbed, tmp_path):
    output = tmp_path / "pairs"
    with (
        start(corpus, output, seconds=0.001) as first,
        start(corpus, output, seconds=0.001) as second,
    ):
        for process in (first, second):
            assert process.wait() == 0, process.stderr
    assert pairs(output) == pairs(undisturbed)
    assert rejects(output) == rejects(undisturbed)
    assert set(answered(pathlib.Path(f"{output}.log")).values()) == {1}


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random_points(corpus, undisturbed, tmp_path, seed):
    rng = random.Random(seed)
    output = tmp_path / "pairs"
    workers = 2 if seed % 4 == 0 else 1
    num_kills = 0
    for _ in range(2):
        with start(corpus, output, workers, seconds=0.001) as process:
            time.sleep(rng.uniform(0.4, 2.2 if workers == 1 else 3.0))
            family = [process.pid, *process.children()]
            victim = rng.choice(family)
            if process.poll() is None:
                os.kill(victim, signal.SIGKILL)
                num_kills += 1
            status = process.wait()
            # A killed worker is reported in one line; the kill may have come when all was done.
            assert status in (0, WORKER_LOST, -signal.SIGKILL), process.stderr
            if status == WORKER_LOST:
                assert "a worker process died" in process.stderr
                assert "Remedy: run the same command again" in process.stderr
            # The workers end with their parent, before the context ends what is left.
            deadline = time.monotonic() + GRACE_SECONDS
            while any(map(is_alive, family)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not any(map(is_alive, family))
        if status == 0:
            break
    finish(corpus, output, workers)
    assert pairs(output) == pairs(undisturbed)
    assert rejects(output) == rejects(undisturbed)
    texts = answered(pathlib.Path(f"{output}.log"))
    assert texts.total() - len(texts) <= num_kills * workers * CHUNK
