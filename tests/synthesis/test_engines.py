"""Engines: the same pairs from processes and from Ray actors, whoever dies."""

import json
import os
import pathlib
import signal
import sys
import time

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SynthesisConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.synthesis import engines
from codepmp_jax.synthesis.pairs import synthesize
from codepmp_jax.synthesis.passes import ShardId
from tests import processes
from tests.e2e.launching import command, environment


def pairs(output) -> list[list[PreferencePair]]:
    return [list(ShardedDataset(output, PreferencePair, split)) for split in ("train", "heldout")]


@pytest.fixture(scope="module")
def expected(corpus, tmp_path_factory) -> list[list[PreferencePair]]:
    output = tmp_path_factory.mktemp("engines") / "pairs"
    synthesize(SynthesisConfig(input=str(corpus), output=str(output)))
    return pairs(output)


def test_processes_give_the_same_pairs(corpus, expected, tmp_path):
    synthesize(SynthesisConfig(input=str(corpus), output=str(tmp_path), workers=2))
    assert pairs(tmp_path) == expected
    report = json.loads((tmp_path / "report.json").read_text())
    workers = {row["worker"] for row in report["throughput"] if row["pass"] == "rejected"}
    assert workers
    assert not any(worker.endswith(f"-{os.getpid()}") for worker in workers)


class Visible:
    """A worker that notes which GPUs it may use, and waits for the notes of both shards."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def __call__(self, shard):
        (self.folder / str(shard.number)).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        deadline = time.monotonic() + processes.LIMIT_SECONDS
        while len([*self.folder.iterdir()]) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self):
        pass


class MakeVisible:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self):
        return Visible(self.folder)


@pytest.mark.parametrize(("before", "seen"), [(None, {"0,1", "2,3"}), ("4,5,6,7", {"4,5", "6,7"})])
def test_each_process_has_gpus_of_its_own(tmp_path, monkeypatch, before, seen):
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    todo = [ShardId("train", number, 2) for number in range(2)]
    engines.run(SynthesisConfig(workers=2), MakeVisible(tmp_path), todo, gpus=2)
    assert {path.read_text() for path in tmp_path.iterdir()} == seen


# What an error cuts short: many times the start of two processes on a busy machine.
LONG_SECONDS = 400


class Failing(Visible):
    """Fails on the first shard; the others take long."""

    def __call__(self, shard):
        if shard.number == 0:
            raise UserError("model = 'none': no such model")
        time.sleep(LONG_SECONDS)


class MakeFailing(MakeVisible):
    def __call__(self):
        return Failing(self.folder)


def test_an_error_of_one_worker_ends_the_others(tmp_path):
    todo = [ShardId("train", number, 4) for number in range(4)]
    started = time.monotonic()
    with pytest.raises(UserError, match="no such model"):
        engines.run(SynthesisConfig(workers=2), MakeFailing(tmp_path), todo, gpus=0)
    assert time.monotonic() - started < LONG_SECONDS / 2


def test_ray_actors_give_the_same_pairs_though_one_is_killed(corpus, expected, tmp_path):
    """The first actor that has written down a chunk of the pass with the n-gram writer."""
    output = tmp_path / "pairs"
    arguments = ("--input", corpus, "--output", output, "--chunk-size", 16, "--workers", 2)
    with processes.Process(
        command("synthesize.py", "--config", "synth_ngram", "--engine", "ray", *arguments),
        environment(RAY_DEDUP_LOGS="0"),
    ) as run:
        chunks = output / "passes" / "rejected"
        run.until(lambda: any(chunks.glob("train-*/0*.array_record")))
        run.until(lambda: any((output / "status").glob("*.json")))
        status = next((output / "status").glob("*.json"))
        os.kill(int(status.stem.rpartition("-")[2]), signal.SIGKILL)
        assert run.wait() == 0, run.stderr
    assert pairs(output) == expected


def test_an_actors_error_is_one_line(corpus, tmp_path):
    arguments = ("--input", corpus, "--output", tmp_path, "--engine", "ray")
    servers = (
        "--rejected.sampler",
        "openai",
        "--rejected.model",
        "m",
        "--rejected.openai.endpoints",
        "http://127.0.0.1:9/v1",
    )
    done = processes.run(
        command("synthesize.py", *arguments, *servers, "--rejected.openai.max-retries", 0),
        environment(),
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "error: rejected.openai.endpoints = ('http://127.0.0.1:9/v1',): no server"
    )


def test_without_ray_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = SynthesisConfig(engine="ray")
    with pytest.raises(UserError, match=r"ray is not installed.*codepmp_jax\[ray\]"):
        engines.run(config, MakeVisible(tmp_path), [ShardId("train", 0, 1)], gpus=0)
