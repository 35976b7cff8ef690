from __future__ import annotations

import json
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from codepmp_jax.cli.errors import StoreError
from codepmp_jax.files import storage
from codepmp_jax.training import telemetry
from codepmp_jax.training.telemetry import MetricsWriter


def read(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def flush(writer: MetricsWriter) -> None:
    """Until the rows outlast the process."""
    flushed = writer.flush()
    assert flushed is not None
    flushed.result()


def test_rows_of_steps_that_are_done_again_are_replaced(tmp_path):
    first = MetricsWriter(tmp_path, 0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": float(step), "mfu": None})
    first.close()
    second = MetricsWriter(tmp_path, 2)
    second.write({"step": 3, "loss": 30.0})
    second.close()
    assert [(row["step"], row["loss"]) for row in read(tmp_path)] == [(1, 1), (2, 2), (3, 30)]


def test_a_row_that_a_killed_process_did_not_finish_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    writer = MetricsWriter(tmp_path, 2)
    writer.write({"step": 3, "loss": 3.0})
    writer.close()
    assert [row["step"] for row in read(tmp_path)] == [1, 3]


@pytest.mark.parametrize("num_before", range(7, 11))
def test_tensorboard_reads_the_rows_and_forgets_the_replaced_ones(
    tmp_path, monkeypatch, num_before
):
    # The names of a second's files end in their number in the process: 10 would sort before 9.
    numbers = (number for number in range(num_before, num_before + 2))
    monkeypatch.setattr(event_file_writer._global_uid, "get", lambda: next(numbers))
    for resumed, value in ((0, 1.0), (1, 7.0)):
        writer = MetricsWriter(tmp_path, resumed)
        for step in (resumed + 1, resumed + 2):
            writer.write({"step": step, "loss": value, "mfu": None})
        writer.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    losses = {event.step: event.value for event in board.Scalars("loss")}
    assert losses[1] == 1.0
    assert losses[2] == losses[3] == 7.0
    assert "mfu" not in board.Tags()["scalars"]


def test_no_row_waits_for_a_bucket_but_a_flush_does(monkeypatch, bucket):
    """And what the bucket answers is raised by what comes next."""
    monkeypatch.setattr(telemetry, "_SEND_EVERY", 0.0)
    may_go, append = threading.Event(), storage.append
    monkeypatch.setattr(storage, "append", lambda *values: may_go.wait() and append(*values))
    writer = MetricsWriter("gs://code/run", 0)
    for step in range(1, 9):
        writer.write({"step": step})
    assert bucket.names("run/metrics.jsonl") == []
    may_go.set()
    flush(writer)
    assert [json.loads(line)["step"] for line in bucket.get("run/metrics.jsonl").splitlines()] == [
        *range(1, 9)
    ]
    bucket.delete("run/metrics.jsonl")
    monkeypatch.setattr(storage, "append", lambda *values: 1 / 0)
    writer.write({"step": 9})
    for refused in (lambda: flush(writer), writer.close):
        with pytest.raises(StoreError, match=r"gs://code/run: cannot be written"):
            refused()


def test_in_a_bucket_rows_last_from_the_flush_on(bucket, tmp_path):
    """The first process is killed: what it wrote after its flush is not there."""
    first = MetricsWriter("gs://code/run", 0)
    for step in (1, 2, 3, 4):
        first.write({"step": step, "loss": float(step)})
        if step in (1, 3):
            flush(first)
    second = MetricsWriter("gs://code/run", 2)
    assert second.last_step == 3
    second.write({"step": 3, "loss": 30.0})
    second.close()
    (tmp_path / "tensorboard").mkdir()
    for name in bucket.names("run/"):
        if not name.endswith(".tail"):
            (tmp_path / name.removeprefix("run/")).write_bytes(bucket.get(name))
    assert [(row["step"], row["loss"]) for row in read(tmp_path)] == [(1, 1), (2, 2), (3, 30)]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    losses = [(event.step, event.value) for event in board.Scalars("loss")]
    assert losses == [(1, 1), (2, 2), (3, 30)]
    first.close()
