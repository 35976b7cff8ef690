"""Training with data and workdir in a bucket, on a server that fails for a while, and killed in between."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from codepmp_jax.config import CheckpointConfig, DataConfig, TrainConfig, presets
from codepmp_jax.files import storage
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from tests.e2e.launching import command, environment, metrics
from tests.gcs import Bucket, Fault
from tests.processes import Process
from tests.training.reference import tiny_config
from tests.training.runs import final_state

NUM_STEPS = 24
# Programs that compile fast rather than run fast.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """Pairs and settings of a run on this machine's disk."""
    folder = tmp_path / "pairs"
    rng = np.random.default_rng(0)

    def code() -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x"], rng.integers(3, 12)))

    def make(number: int) -> list[PreferencePair]:
        rows = [(f"do {i}", code(), code()) for i in range(number)]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(100), 3),
        "heldout": write_split(folder, "heldout", make(8), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return tiny_config(
        workdir=str(tmp_path / "local"),
        model__vocab_size=4096,
        model__remat="none",
        data=DataConfig(input=str(folder), max_length=32, cache=str(tmp_path / "cache")),
        checkpoint=CheckpointConfig(every_steps=3, keep=2, keep_every_steps=12),
        global_batch_rows=8,
        num_steps=NUM_STEPS,
        log_every_steps=2,
        eval_every_steps=12,
        eval_pairs=8,
    )


def training(config: TrainConfig, folder: pathlib.Path, **variables: str) -> Process:
    """The run as a process of launch/tpu_pod.py; all launches share what they compile."""
    settings = folder / "config.json"
    settings.write_text(json.dumps(presets.to_json(config)), encoding="utf-8")
    variables |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "XLA_FLAGS": XLA_FLAGS}
    return Process(command("tpu_pod.py", "--config", settings), environment(**variables))


def saved_steps(bucket: Bucket) -> list[int]:
    ending = "commit_success.txt"
    names = [name.split("/") for name in bucket.names("run/checkpoints/")]
    return sorted(int(step) for _, _, step, *rest in names if rest == [ending])


def until_saved(bucket: Bucket, process: Process) -> None:
    """Waits for another checkpoint."""
    newest = max(saved_steps(bucket), default=0)
    process.until(lambda: max(saved_steps(bucket), default=0) > newest)


def test_a_run_in_a_bucket_that_fails_and_is_killed_loses_nothing(config, bucket, proxy, tmp_path):
    with training(config, tmp_path) as process:
        assert process.wait() == 0, process.stderr
    for path in pathlib.Path(config.data.input).iterdir():
        bucket.put(f"pairs/{path.name}", path.read_bytes())
    data = dataclasses.replace(config.data, input="gs://code/pairs")
    remote = dataclasses.replace(config, workdir="gs://code/run", data=data)
    variables = bucket.variables(proxy.url)
    with training(remote, tmp_path, **variables) as process:
        faults: list[Fault] = ["error", "reset", "lost", "slow"]
        for fault in faults:
            until_saved(bucket, process)
            proxy.fault, proxy.num_faults = fault, 0
            process.until(lambda: proxy.num_faults >= 4)
            proxy.fault = "none"
        until_saved(bucket, process)
        process.kill()
    killed_at = max(saved_steps(bucket))
    assert 12 <= killed_at < NUM_STEPS
    with training(remote, tmp_path, **variables) as process:
        assert process.wait() == 0, process.stderr
        assert f"resuming gs://code/run/checkpoints/{killed_at} at step" in process.stderr
    # Every step once, as if nothing had been.
    local = metrics(pathlib.Path(config.workdir))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "metrics.jsonl").write_bytes(bucket.get("run/metrics.jsonl"))
    assert [row["step"] for row in local] == list(range(1, NUM_STEPS + 1))
    assert metrics(tmp_path / "copy") == local
    for ours, theirs in zip(final_state(remote), final_state(config), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What is kept, and that nothing else is left.
    assert saved_steps(bucket) == [12, 21, 24]
    folders = {name.split("/")[0] for name in storage.files("gs://code/run/checkpoints")}
    assert folders == {"12", "21", "24"}
    assert {*storage.files("gs://code/run/tokenizer")} == {
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert len([name for name in bucket.names("run/tensorboard/") if ".tfevents." in name]) >= 2
    assert "run/.lock" not in bucket.names("run/")
