from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import resource
import sys
import threading
import time
from collections.abc import Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils

from codepmp_jax.checkpoint.checkpointer import _WRITTEN_LAST, Checkpointer
from codepmp_jax.cli import exit_codes
from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.config import CheckpointConfig
from codepmp_jax.files import checksums, storage
from tests.processes import Process

ABSTRACT = {"kernel": jax.ShapeDtypeStruct((4,), "float32")}
OPTIMIZER = {"count": jax.ShapeDtypeStruct((), "float32")}


@pytest.fixture(params=["disk", "bucket"])
def workdir(request, tmp_path) -> str:
    if request.param == "disk":
        return str(tmp_path / "run")
    request.getfixturevalue("bucket")
    return "gs://code/run"


def save(
    workdir, *steps: int, metrics: Mapping[int, Mapping[str, float]] | None = None, **config
) -> None:
    checkpointer = Checkpointer(str(workdir), CheckpointConfig(**config))
    for step in steps:
        params = {"kernel": jax.numpy.full((4,), float(step))}
        count = {"count": jax.numpy.zeros(())}
        found = (metrics or {}).get(step)
        checkpointer.save(step, params, count, [{"n": step}], {"seed": 1}, found)
    checkpointer.close()


def steps_of(workdir) -> list[int]:
    folders = {name.split("/")[0] for name in storage.files(f"{workdir}/checkpoints")}
    return sorted(int(name) for name in folders if name.isdecimal())


def test_every_item_comes_back(workdir):
    save(workdir, 5)
    restored = Checkpointer(workdir).restore(ABSTRACT, OPTIMIZER)
    np.testing.assert_array_equal(restored.params["kernel"], np.full(4, 5.0))
    assert (restored.data, restored.config) == ([{"n": 5}], {"seed": 1})


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "{a,b}",
        "100%",
        "a%41b",
        "a#b",
        "lr=1e-3,b=2",
        "日本",
        "a'b\"c",
        "~a",
        "a|b",
        "a&b;c$d",
        "]",
    ],
)
def test_paths_are_taken_as_they_are(tmp_path, name):
    """Also by those who read a part of the parameters."""
    workdir = tmp_path / name / "run"
    save(workdir, 5)
    reader = Checkpointer(str(workdir))
    assert reader.restore(ABSTRACT, OPTIMIZER).params["kernel"][0] == 5
    assert np.asarray(reader.open_params(ABSTRACT)["kernel"])[0] == 5


@pytest.mark.parametrize("name", ["lr[1e-3]", "a*b", "a?b", "a\\b"])
def test_paths_that_orbax_takes_for_patterns_are_refused_at_the_start(tmp_path, monkeypatch, name):
    """In any folder above, too. A run that is moved there can be read."""
    with pytest.raises(UserError, match="must hold none of"):
        save(tmp_path / name / "run", 5)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match="must hold none of"):
        save("run", 5)
    with pytest.raises(UserError, match="must hold none of"):
        save(f"gs://code/{name}", 5)
    save(tmp_path / "run", 5)
    if "\\" not in name:
        (tmp_path / "run").rename(tmp_path / name / "run")
        reader = Checkpointer(str(tmp_path / name / "run"))
        assert reader.restore(ABSTRACT, OPTIMIZER).params["kernel"][0] == 5
        assert np.asarray(reader.open_params(ABSTRACT)["kernel"])[0] == 5


def test_an_empty_workdir_is_refused(tmp_path, monkeypatch):
    """As of a variable of the shell that is not set; the run would lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="workdir = '': must not be empty"):
        save("", 5)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_read_back_does_not_count(tmp_path, monkeypatch):
    """As when an array is lost on the way: here, the part of Orbax that merges what processes wrote finds none."""
    merge = "orbax.checkpoint._src.serialization.ocdbt_utils.merge_ocdbt_per_process_files"

    async def without(*arguments, **options):
        pass

    save(tmp_path, 5)
    monkeypatch.setattr(merge, without)
    with pytest.raises(StoreError, match="cannot be read back: no kernel in params"):
        save(tmp_path, 6)
    monkeypatch.undo()
    assert Checkpointer(str(tmp_path)).latest_step() == 5


def test_the_newest_are_kept(workdir):
    save(workdir, 1, 2, 3, keep=2)
    reader = Checkpointer(workdir)
    assert reader.latest_step() == 3
    assert steps_of(workdir) == [2, 3]
    assert reader.restore_params(ABSTRACT, 2)["kernel"][0] == 2
    with pytest.raises(UserError, match="there are: 2, 3"):
        reader.restore_params(ABSTRACT, 1)


def test_what_one_setting_keeps_is_kept(tmp_path):
    """Also over a restart, which reads the metrics from the checkpoints."""
    steps = [2, 3, 4, 5, 6, 7, 8, 10, 12, 14]
    accuracy = {3: 0.5, 5: 0.9, 6: 0.6, 7: 0.4, 10: 0.8}
    metrics = {
        step: {"eval_accuracy": value, "eval_loss": 1 - value} for step, value in accuracy.items()
    }
    config = {
        "keep": 2,
        "every_steps": 2,
        "keep_every_steps": 6,
        "keep_spaced_from": 4,
        "keep_best": 2,
    }
    save(tmp_path / "a", *steps[:6], metrics=metrics, **config)
    save(tmp_path / "a", *steps[6:], metrics=metrics, **config)
    # 12 and 14 are the newest, 6 and 12 divisible; the series 4, 5, 6, 7, 8, 10, 11, 13 ...; best 5 and 10.
    assert steps_of(tmp_path / "a") == [4, 5, 6, 7, 8, 10, 12, 14]
    lowest = {"keep_best": 1, "best_metric": "eval_loss", "best_is": "lowest", "keep": 1}
    save(tmp_path / "b", *steps, metrics=metrics, **lowest)
    assert steps_of(tmp_path / "b") == [5, 14]


def test_the_spaced_series_is_saved_too(tmp_path):
    config = CheckpointConfig(every_steps=100, keep_spaced_from=100)
    series = config.spaced_steps(1000)
    assert series == [100, 119, 141, 168, 200, 238, 283, 336, 400, 476, 566, 673, 800, 951]
    checkpointer = Checkpointer(str(tmp_path), config)
    saved = [step for step in range(1, 1001) if checkpointer.should_save(step)]
    assert saved == sorted({*range(100, 1001, 100), *series})
    checkpointer.close()


def test_a_best_metric_that_the_evaluation_lacks_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"checkpoint\.best_metric = 'eval_acc': .* one of eval_accuracy"
    ):
        save(tmp_path, 1, metrics={1: {"eval_accuracy": 1.0}}, keep_best=1, best_metric="eval_acc")


def test_parameters_of_another_shape_are_refused(tmp_path):
    save(tmp_path, 1)
    other = {"kernel": jax.ShapeDtypeStruct((5,), "float32")}
    with pytest.raises(UserError, match="checkpoints/1: cannot be restored"):
        Checkpointer(str(tmp_path)).restore_params(other)


# --- damage ---------------------------------------------------------------------------------------


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def restore(workdir, **config):
    checkpointer = Checkpointer(workdir, CheckpointConfig(**config))
    try:
        return checkpointer.latest_step(), checkpointer.restore(ABSTRACT, OPTIMIZER)
    finally:
        checkpointer.close()


def test_each_file_is_missed_and_each_flipped_byte_seen(tmp_path):
    save(tmp_path, 1)
    folder = storage.to_path(tmp_path / "checkpoints" / "1")
    names = sorted(name for name in storage.files(folder) if name not in _WRITTEN_LAST)
    assert len(names) > 10
    assert checksums.faults(folder) == []
    for name in names:
        path = folder / name
        before = path.read_bytes()
        flip(path)
        assert checksums.faults(folder), name
        path.unlink()
        (fault,) = checksums.faults(folder)
        assert fault == f"{name} is missing"
        path.write_bytes(before)
    parts = [checksums.faults(folder, ("",), part, 3) for part in range(3)]
    assert parts == [[], [], []]


def test_hosts_share_the_comparison(tmp_path):
    """Together they see every fault, and none sees that of another."""
    save(tmp_path, 1)
    folder = storage.to_path(tmp_path / "checkpoints" / "1")
    for name in ("params/_METADATA", "data/metadata", "config/metadata", "optimizer/_METADATA"):
        flip(folder / name)
    parts = [checksums.faults(folder, ("",), part, 2) for part in range(2)]
    assert sorted(itertools.chain(*parts)) == checksums.faults(folder)
    assert len(checksums.faults(folder)) == 4
    assert all(len(part) < 4 for part in parts)


def largest(workdir, step: int):
    """The file with the values of a checkpoint's parameters."""
    folder = storage.to_path(workdir) / "checkpoints" / str(step) / "params"
    files = storage.files(folder)
    return folder / max(files, key=lambda name: ("/d/" in name, files[name].num_bytes))


@pytest.mark.parametrize("fall_back", [False, True])
def test_a_flipped_byte_is_an_error_or_goes_back_loudly(workdir, caplog, fall_back):
    save(workdir, 1, 2, 3)
    path = largest(workdir, 3)
    flip(path)
    named = f"checkpoints/3: {str(path).partition('/checkpoints/3/')[2]} is damaged"
    # Also for those who read the parameters only.
    with pytest.raises(UserError, match=named):
        Checkpointer(workdir).restore_params(ABSTRACT)
    if not fall_back:
        with pytest.raises(UserError, match=f"{named}.*--checkpoint.fall-back goes back to step 2"):
            restore(workdir)
        assert steps_of(workdir) == [1, 2, 3]
        return
    step, restored = restore(workdir, fall_back=True)
    assert (step, restored.data) == (2, [{"n": 2}])
    assert named in caplog.text
    assert "going back to step 2" in caplog.text
    # Nothing is lost, and the step can be saved again.
    save(workdir, 3)
    assert restore(workdir)[1].data == [{"n": 3}]
    largest(workdir, 3).unlink()
    assert restore(workdir, fall_back=True)[0] == 2
    folders = {name.split("/")[0] for name in storage.files(f"{workdir}/checkpoints")}
    assert folders == {"1", "2", "3.damaged", "3.damaged.2"}


def test_where_all_are_damaged_nothing_starts_afresh(tmp_path):
    save(tmp_path, 1, 2)
    for step in (1, 2):
        largest(tmp_path, step).unlink()
    with pytest.raises(UserError, match=r"checkpoints/1: \S+ is missing"):
        restore(str(tmp_path), fall_back=True)


@pytest.mark.parametrize("cut_off", ["early", "late"])
def test_what_a_save_left_unfinished_is_told_and_not_restored(workdir, caplog, cut_off):
    """Cut off while it writes its files, or when only the sign that it is whole is missing."""
    save(workdir, 1, 2)
    folder = storage.to_path(workdir) / "checkpoints"
    unfinished = folder / ("3" if storage.is_bucket(workdir) else "3.orbax-checkpoint-tmp")
    missing = ["commit_success.txt", *(["checksums.json"] if cut_off == "early" else [])]
    for name in storage.files(folder / "2"):
        if name not in missing:
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((folder / "2" / name).read_bytes())
    assert Checkpointer(workdir).latest_step() == 2
    assert unfinished.exists()
    step, restored = restore(workdir)
    assert (step, restored.data) == (2, [{"n": 2}])
    assert f"{unfinished}: the process that saved it ended before it was whole" in caplog.text
    assert not unfinished.exists()
    assert (folder / "3.unfinished").exists() == (cut_off == "late")
    save(workdir, 3)


_KILLED = """
import sys, jax, jax.numpy as jnp
from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.config import CheckpointConfig
checkpointer = Checkpointer(sys.argv[1], CheckpointConfig(keep=2))
for step in range(1 + (checkpointer.latest_step() or 0), 10_000):
    params = {"kernel": jnp.full((4,), float(step)), "more": jnp.full((300_000,), float(step))}
    checkpointer.save(step, params, {"count": jnp.zeros(())}, [{"n": step}], {"seed": 1})
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    abstract = ABSTRACT | {"more": jax.ShapeDtypeStruct((300_000,), "float32")}
    rng = np.random.default_rng(0)
    before = 0
    for _ in range(3):
        num_saves = rng.integers(2, 5)
        with Process([sys.executable, "-c", _KILLED, tmp_path]) as process:
            process.until(lambda p=process, n=num_saves: p.stdout.count("\n") >= n)
            started = int(process.stdout.splitlines()[num_saves - 1])
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
        checkpointer = Checkpointer(str(tmp_path), CheckpointConfig())
        step = checkpointer.latest_step()
        assert step is not None
        # All but the last of those that had started were waited for.
        assert step >= max(before, started - 1)
        restored = checkpointer.restore(abstract, OPTIMIZER)
        assert restored.data == [{"n": step}]
        assert np.all(restored.params["more"] == step)
        checkpointer.close()
        before = step


# --- places ---------------------------------------------------------------------------------------


def test_one_run_at_a_time(workdir):
    first = Checkpointer(workdir, CheckpointConfig())
    with pytest.raises(UserError, match=r"run/\.lock: is held by process \d+"):
        Checkpointer(workdir, CheckpointConfig())
    first.close()
    Checkpointer(workdir, CheckpointConfig()).close()


def test_a_place_that_cannot_be_written_is_told_at_the_start(tmp_path, bucket):
    (tmp_path / "file").write_text("")
    disk = str(tmp_path / "file" / "run")
    for workdir, said in ((disk, f"{disk}.* cannot be written"), ("gs://nobody/run", "404")):
        with pytest.raises(UserError, match=said):
            Checkpointer(workdir, CheckpointConfig())


def test_a_store_that_fails_is_told_apart_from_a_mistake(tmp_path):
    """By the exit status: what starts runs again does so after the one and not after the other."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as raised:
        Checkpointer(str(tmp_path / "file" / "run"), CheckpointConfig())
    assert raised.value.status == exit_codes.STORE
    with pytest.raises(UserError) as raised:
        Checkpointer(str(tmp_path / "none"))
    assert raised.value.status == exit_codes.MISTAKE


@pytest.mark.parametrize(
    "error", [OSError("come again, 503"), ValueError("UNAVAILABLE: Error reading"), None]
)
def test_a_store_that_fails_while_it_restores_is_no_mistake(workdir, monkeypatch, error):
    """Else a run whose bucket fails for a while would not be started again."""

    def fail(*args: object, **more: object) -> None:
        raise error or jax.errors.JaxRuntimeError("Connection closed by peer")

    save(workdir, 1)
    checkpointer = Checkpointer(workdir)
    monkeypatch.setattr(checkpointer._manager, "restore", fail)
    expected = jax.errors.JaxRuntimeError if error is None else StoreError
    with pytest.raises(expected, match="closed by peer" if error is None else "/1: cannot be read"):
        checkpointer.restore_config()


def test_a_disk_without_room_is_told_at_the_start(tmp_path):
    checkpointer = Checkpointer(str(tmp_path), CheckpointConfig())
    checkpointer.require_room(ABSTRACT)
    with pytest.raises(UserError, match=r"a checkpoint takes 4000000000000 MB, but its disk has"):
        checkpointer.require_room({"kernel": jax.ShapeDtypeStruct((10**9, 10**9), "float32")})
    checkpointer.close()


def steps_until_it_is_told(checkpointer: Checkpointer) -> None:
    for step in itertools.count(3):
        assert not checkpointer.should_save(step)
        time.sleep(0.01)


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_is_there(tmp_path):
    """No file of 100 kB can be written any more, as none can where a disk is full."""
    checkpointer = Checkpointer(str(tmp_path), CheckpointConfig(every_steps=1000))
    params = {"kernel": jax.random.normal(jax.random.key(0), (100_000,))}
    checkpointer.save(1, params, None, [], {})
    checkpointer.wait()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        checkpointer.save(2, params, None, [], {})
        with pytest.raises(UserError, match=r"checkpoints/2: cannot be written .*File too large"):
            steps_until_it_is_told(checkpointer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(UserError, match="cannot be written"):
        checkpointer.close()
    after = Checkpointer(str(tmp_path), CheckpointConfig())
    assert after.latest_step() == 1
    after.close()


def test_a_checkpoint_counts_when_what_it_waits_for_is_done(tmp_path):
    """Here the rows of its steps, which are being written; where they cannot be, the run ends."""
    checkpointer = Checkpointer(str(tmp_path), CheckpointConfig(every_steps=1000))
    params = {"kernel": jax.random.normal(jax.random.key(0), (10,))}
    written: concurrent.futures.Future[None] = concurrent.futures.Future()
    checkpointer.save(1, params, None, [], {}, after=written)
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("checkpoints/1.*/params/_METADATA")):
        assert time.monotonic() < deadline
    assert not (tmp_path / "checkpoints" / "1").exists()
    written.set_result(None)
    checkpointer.wait()
    assert (tmp_path / "checkpoints" / "1").exists()
    lost: concurrent.futures.Future[None] = concurrent.futures.Future()
    lost.set_exception(StoreError("metrics.jsonl: cannot be written"))
    checkpointer.save(2, params, None, [], {}, after=lost)
    with pytest.raises(StoreError, match=r"^metrics\.jsonl: cannot be written"):
        checkpointer.wait()
    assert not (tmp_path / "checkpoints" / "2").exists()
    with contextlib.suppress(UserError):
        checkpointer.close()


def test_a_host_whose_save_has_failed_does_not_wait_for_the_others(tmp_path, monkeypatch):
    """They wait for what it has not written."""
    over = threading.Event()
    lost: concurrent.futures.Future[None] = concurrent.futures.Future()

    def barrier(*, key: str, timeout_ms: int) -> None:
        if lost.done() and not over.wait(30):
            raise TimeoutError

    monkeypatch.setattr(ocp.multihost, "get_barrier_sync_fn", lambda **_: barrier)
    checkpointer = Checkpointer(str(tmp_path), CheckpointConfig())
    checkpointer.save(1, {"kernel": jax.numpy.zeros(4)}, None, [], {}, after=lost)
    lost.set_exception(StoreError("metrics.jsonl: cannot be written"))
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^metrics\.jsonl: cannot be written"):
        checkpointer.wait()
    assert time.monotonic() - started < 25
    over.set()
    with contextlib.suppress(UserError):
        checkpointer.close()


def test_a_bucket_whose_metadata_are_forbidden_is_refused_at_the_start(bucket, proxy):
    """Else the first deletion ends the run, and it cannot resume."""
    proxy.fault = "no metadata"
    for config in (CheckpointConfig(), None):
        with pytest.raises(UserError, match=r"gs://code: .*storage.legacyBucketReader") as raised:
            Checkpointer("gs://code/run", config)
        assert raised.value.status == exit_codes.MISTAKE


def test_saving_leaves_the_count_of_preemption_calls_alone(tmp_path, monkeypatch):
    """Orbax asks with the number of the step, and then the run's own calls, which count on, hear no notice."""
    asked = []
    monkeypatch.setattr(
        multihost_utils, "reached_preemption_sync_point", lambda step: asked.append(step)
    )
    save(tmp_path, 1, 2)
    assert steps_of(tmp_path) == [1, 2]
    assert asked == []
