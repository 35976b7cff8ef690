"""Several hosts: processes of launch/tpu_pod.py that find one another through jax.distributed."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE, RESUME
from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    LoraConfig,
    MeshConfig,
    OptimizerConfig,
    TrainConfig,
)
from codepmp_jax.conversion import load
from codepmp_jax.conversion.export import load_run
from codepmp_jax.devices import gather
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.training import loop
from tests.e2e.launching import checkpoint_steps, metrics
from tests.hosts import Hosts
from tests.training.reference import tiny_config
from tests.training.runs import assert_close

NUM_HOSTS = 2
NUM_STEPS = 12
# Seconds in which the others stop when a host is killed: of connections that break at once, and a start of Python.
STOP_SECONDS = 30


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    """A run of two epochs of five steps and more, in which no pair is dropped."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)

    def code() -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x"], rng.integers(3, 12)))

    def make(number: int) -> list[PreferencePair]:
        rows = [(f"do {i}", code(), code()) for i in range(number)]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(40), 2),
        "heldout": write_split(folder, "heldout", make(11), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return tiny_config(
        model__vocab_size=4096,
        model__remat="none",
        data=DataConfig(
            input=str(folder), template="{prompt}\n{response}", max_length=32, num_streams=4
        ),
        mesh=MeshConfig(fsdp=-1, tensor=2),
        checkpoint=CheckpointConfig(every_steps=2, keep=10),
        global_batch_rows=8,
        num_steps=NUM_STEPS,
        log_every_steps=4,
        eval_every_steps=3,
        eval_pairs=11,
    )


def in_folder(config: TrainConfig, workdir: pathlib.Path) -> TrainConfig:
    return dataclasses.replace(config, workdir=str(workdir))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> pathlib.Path:
    """Compiled programs of the hosts."""
    return tmp_path_factory.mktemp("programs")


def run_hosts(config: TrainConfig, cache: pathlib.Path) -> list[str]:
    """Runs every host to its good end; gives what each printed."""
    with Hosts([config] * NUM_HOSTS, cache) as hosts:
        assert hosts.wait() == [0] * NUM_HOSTS, "\n".join(hosts.printed())
        return hosts.printed()


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory) -> pathlib.Path:
    """The run by this process, whose devices are more than those of the hosts."""
    assert jax.device_count() == 8
    workdir = tmp_path_factory.mktemp("alone") / "run"
    loop.train(in_folder(config, workdir))
    return workdir


@pytest.fixture(scope="module")
def printed_together(config, cache, tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
    workdir = tmp_path_factory.mktemp("together") / "run"
    return workdir, run_hosts(in_folder(config, workdir), cache)


@pytest.fixture(scope="module")
def together(printed_together) -> pathlib.Path:
    """The run by two processes."""
    return printed_together[0]


def assert_same_run(
    ours: pathlib.Path, theirs: pathlib.Path, steps: range = range(1, NUM_STEPS + 1)
) -> None:
    """The same metrics of these steps, and final parameters, but for the order of sums."""
    rows = metrics(ours)
    assert [row["step"] for row in rows] == list(steps)
    for row, expected in zip(rows, metrics(theirs), strict=True):
        assert_close(row, expected)
    (_, step, params), (_, _, expected) = (load_run(str(run), None) for run in (ours, theirs))
    assert step == steps[-1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), params, expected
    )


def test_two_hosts_train_as_one(together, alone):
    """Each host reads one of the two streams, so that their batches are one host's."""
    assert_same_run(together, alone)
    last = metrics(together)[-1]
    assert "eval_accuracy" in last
    assert last["data_pairs"] == NUM_STEPS * 8


def test_two_hosts_train_on_a_mixture_as_one(config, cache, tmp_path):
    """The same pairs of each source, and the same figures of each."""
    (folder,) = config.data.folders
    shutil.copytree(folder, tmp_path / "other")
    mixture = (f"a={folder}:1", f"b={tmp_path / 'other'}:3")
    data = dataclasses.replace(config.data, input=DataConfig.input, mixture=mixture)
    config = dataclasses.replace(config, data=data)
    run_hosts(in_folder(config, tmp_path / "together"), cache)
    loop.train(in_folder(config, tmp_path / "alone"))
    assert_same_run(tmp_path / "together", tmp_path / "alone")
    last = metrics(tmp_path / "together")[-1]
    assert last["heldout_pairs/a"] + last["heldout_pairs/b"] == 11
    assert "eval_accuracy/a" in last


def test_two_hosts_train_adapters_and_decay_from_them_as_one(config, cache, together, tmp_path):
    """Each host reads its parts of the model that they adapt, and of the run that the branch starts from."""
    adapted = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, init_from=str(together)),
        lora=LoraConfig(rank=2),
        optimizer=OptimizerConfig(
            learning_rate=1e-2, schedule="wsd", warmup_steps=1, decay_steps=4
        ),
    )
    alone, both = (in_folder(adapted, tmp_path / name) for name in ("alone", "both"))
    loop.train(alone, load.params_loader(alone))
    run_hosts(both, cache)
    assert_same_run(pathlib.Path(both.workdir), pathlib.Path(alone.workdir))
    decayed = [
        dataclasses.replace(
            run, workdir=f"{run.workdir}_4", decay_from=f"{run.workdir}@4", num_steps=None
        )
        for run in (both, alone)
    ]
    run_hosts(decayed[0], cache)
    loop.train(decayed[1])
    ours, theirs = (pathlib.Path(branch.workdir) for branch in decayed)
    assert_same_run(ours, theirs, range(5, 9))


def test_one_host_writes_and_reports(printed_together):
    workdir, (first, second) = printed_together
    assert "held out: " in first
    assert f"{workdir}: loss " in first.splitlines()[-1]
    assert "loss" not in second
    assert len(list((workdir / "tensorboard").iterdir())) == 1


def test_two_hosts_resume_what_two_saved(config, cache, together, tmp_path):
    """From step 2, to the bit."""
    workdir = tmp_path / "run"
    shutil.copytree(together, workdir)
    for step in checkpoint_steps(workdir):
        if step > 2:
            shutil.rmtree(workdir / "checkpoints" / str(step))
    first, _ = run_hosts(in_folder(config, workdir), cache)
    assert f"at step 2 of {NUM_STEPS}" in first
    assert metrics(workdir) == metrics(together)
    (_, _, ours), (_, _, theirs) = (load_run(str(run), None) for run in (workdir, together))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_one_host_resumes_what_two_saved(config, together, alone, tmp_path):
    """The same pairs in the same order, so that only the order of sums differs."""
    workdir = tmp_path / "run"
    shutil.copytree(together, workdir)
    for step in checkpoint_steps(workdir):
        if step > 2:
            shutil.rmtree(workdir / "checkpoints" / str(step))
    loop.train(in_folder(config, workdir))
    assert_same_run(workdir, alone)


def test_a_notice_to_one_of_four_hosts_stops_all_and_one_goes_on(config, cache, alone, tmp_path):
    """They save after the same step, and one host trains on the same pairs."""
    config = in_folder(config, tmp_path / "run")
    with Hosts([config] * 4, cache) as hosts:
        hosts.wait_for("step 3: evaluating")
        # So that the run is not over before the notice has gone round.
        hosts.processes[1].send(signal.SIGSTOP)
        hosts.processes[2].send(signal.SIGTERM)
        time.sleep(2)
        hosts.processes[1].send(signal.SIGCONT)
        assert hosts.wait() == [RESUME] * 4, "\n".join(hosts.printed())
        assert all("stopping as asked" in printed for printed in hosts.printed())
    stopped = checkpoint_steps(tmp_path / "run")[-1]
    assert 3 <= stopped < NUM_STEPS
    loop.train(config)
    assert_same_run(tmp_path / "run", alone)


def test_when_a_host_is_killed_the_other_stops_and_both_go_on(config, cache, together, tmp_path):
    config = in_folder(config, tmp_path / "run")
    with Hosts([config] * NUM_HOSTS, cache) as hosts:
        hosts.wait_for("step 3: evaluating")
        hosts.processes[1].kill()
        status, _ = hosts.wait(STOP_SECONDS)
        assert status in (HOST_LOST, -signal.SIGABRT), hosts.printed()[0]
        assert "one of them is gone" in hosts.printed()[0] or status == -signal.SIGABRT
    run_hosts(config, cache)
    assert metrics(tmp_path / "run") == metrics(together)
    (_, _, ours), (_, _, theirs) = (
        load_run(str(run), None) for run in (tmp_path / "run", together)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_hosts_with_other_settings_are_told_so_at_the_start(config, cache, tmp_path):
    first = in_folder(config, tmp_path / "run")
    with Hosts([first, dataclasses.replace(first, seed=1)], cache) as hosts:
        assert hosts.wait() == [MISTAKE] * NUM_HOSTS, "\n".join(hosts.printed())
        for printed in hosts.printed():
            assert "error: the hosts differ: seed = 1 on host 1, 0 on host 0" in printed
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.fixture
def as_one_of(monkeypatch):
    """Makes this process the first of some hosts, each with two devices, who say what it says."""

    def pretend(number: int) -> None:
        monkeypatch.setattr(jax, "process_count", lambda: number)
        monkeypatch.setattr(jax, "device_count", lambda: 2 * number)
        monkeypatch.setattr(gather, "_exchange", lambda content: [content] * number)

    return pretend


def test_hosts_that_the_streams_do_not_divide_among_are_refused(config, as_one_of, tmp_path):
    as_one_of(4)
    data = dataclasses.replace(config.data, num_streams=2)
    with pytest.raises(UserError, match=r"data\.num_streams = 2"):
        loop.train(dataclasses.replace(in_folder(config, tmp_path / "run"), data=data))
    assert not (tmp_path / "run").exists()


def test_hosts_cannot_share_pairs(config, as_one_of, tmp_path):
    """On such a mesh each host would train on its own pairs as if the other had the same."""
    as_one_of(NUM_HOSTS)
    wide = tiny_config(model__num_kv_heads=4, mesh=MeshConfig(data=1, fsdp=1, tensor=-1))
    wide = dataclasses.replace(wide, workdir=str(tmp_path), data=config.data)
    with pytest.raises(UserError, match=r"mesh\.data \* mesh\.fsdp = 1: must be divisible by"):
        loop.train(wide)
