"""Rounds of requests, with a worker that the test steers."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.serving.batcher import Batcher, Closed, QueueFull
from codepmp_jax.serving.metrics import Metrics
from codepmp_jax.serving.worker import ScoringError, Worker

SECONDS = 60


class FakeWorker(Worker):
    """The reward of a row is the sum of its tokens. Waits at `gate` before each round."""

    def __init__(self, batch_tokens=100):
        self.facts = {"batch_tokens": batch_tokens}
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.rounds = []
        self.fates = []
        """What happens in each round after its first row: an error to raise, or None."""
        self.restarts = 0

    @property
    def is_alive(self):
        return True

    def rewards(self, rows):
        assert len({row.tobytes() for row in rows}) == len(rows)
        self.rounds.append([row.tolist() for row in rows])
        self.begun.release()
        assert self.gate.wait(SECONDS)
        fate = self.fates.pop(0) if self.fates else None
        for index, row in enumerate(rows):
            yield [index], np.array([row.sum()], np.float32)
            if fate is not None:
                raise fate

    def restart(self):
        self.restarts += 1

    def kill(self):
        self.gate.set()


def rows(*values):
    return [np.array(row, np.int32) for row in values]


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def start(worker):
    """Starts a batcher of the worker."""
    started = []

    def make(queued_texts=100, **settings):
        batcher = Batcher(worker, Metrics(), queued_texts, **settings)
        started.append(batcher)
        return batcher

    yield make
    worker.gate.set()
    for batcher in started:
        batcher.close()


def hold(worker, batcher):
    """A round under way, during which everything else waits."""
    worker.gate.clear()
    held = batcher.submit(rows([9]))
    assert worker.begun.acquire(timeout=SECONDS)
    return held


def test_what_waits_is_scored_together_and_equal_rows_once(worker, start):
    batcher = start()
    held = hold(worker, batcher)
    answers = [batcher.submit(rows([1, 2], [3])), batcher.submit(rows([3], [4, 5], [1, 2]))]
    worker.gate.set()
    assert held.result(SECONDS).tolist() == [9]
    assert [answer.result(SECONDS).tolist() for answer in answers] == [[3, 3], [3, 9, 3]]
    assert worker.rounds == [[[9]], [[1, 2], [3], [4, 5]]]


def test_an_idle_model_waits_for_company(worker, start):
    batcher = start(gather_seconds=5.0, queued_texts=2)
    answers = [batcher.submit(rows([1])), batcher.submit(rows([2]))]
    with pytest.raises(QueueFull, match="2 texts wait"):
        batcher.submit(rows([3]))
    assert [answer.result(SECONDS).tolist() for answer in answers] == [[1], [2]]
    assert worker.rounds == [[[1], [2]]]


def test_rounds_are_bounded_but_a_large_request_is_one(worker, start):
    batcher = start(queued_texts=1000)
    hold(worker, batcher)
    small = [batcher.submit(rows([n] * 300)) for n in (1, 2, 3)]
    large = batcher.submit(rows(*([n] * 300 for n in (4, 5, 6, 7))))
    worker.gate.set()
    assert [answer.result(SECONDS).tolist() for answer in small] == [[300], [600], [900]]
    assert len(large.result(SECONDS)) == 4
    assert [len(held) for held in worker.rounds] == [1, 2, 1, 4]


def test_what_is_taken_back_is_not_scored_and_makes_room(worker, start):
    batcher = start(queued_texts=2)
    hold(worker, batcher)
    gone = batcher.submit(rows([1], [2]))
    with pytest.raises(QueueFull):
        batcher.submit(rows([3]))
    assert gone.cancel()
    kept = batcher.submit(rows([3]))
    worker.gate.set()
    assert kept.result(SECONDS).tolist() == [3]
    assert worker.rounds[1:] == [[[3]]]
    with pytest.raises(CancelledError):
        gone.result()


def test_a_killed_worker_is_started_again_and_nothing_is_lost(worker, start):
    batcher = start()
    hold(worker, batcher)
    worker.fates = [None, WorkerLostError("killed")]
    first, second = batcher.submit(rows([1])), batcher.submit(rows([2], [3]))
    worker.gate.set()
    assert first.result(SECONDS).tolist() == [1]
    assert second.result(SECONDS).tolist() == [2, 3]
    # The one that was answered before is not scored again.
    assert worker.rounds[1:] == [[[1], [2], [3]], [[2], [3]]]
    assert worker.restarts == 1


def test_a_round_that_kills_two_workers_fails_alone(worker, start):
    batcher = start()
    worker.fates = [WorkerLostError("killed"), WorkerLostError("killed again")]
    poison = batcher.submit(rows([1], [2]))
    with pytest.raises(ScoringError, match="killed again"):
        poison.result(SECONDS)
    assert batcher.submit(rows([3])).result(SECONDS).tolist() == [3]
    assert worker.restarts == 2


def test_a_worker_that_does_not_start_again_ends_the_server(worker, start, monkeypatch):
    failures = []
    batcher = start(on_failure=failures.append)
    hold(worker, batcher)
    worker.fates = [None, WorkerLostError("killed")]
    answers = [batcher.submit(rows([1], [2])), batcher.submit(rows(*([n] * 900 for n in (1, 2))))]

    def restart():
        raise UserError("no model there any more")

    monkeypatch.setattr(worker, "restart", restart)
    worker.gate.set()
    for answer in answers:
        with pytest.raises(ScoringError, match="no model there any more"):
            answer.result(SECONDS)
    assert [str(error) for error in failures] == ["no model there any more"]
    assert not batcher.is_ready
    with pytest.raises(Closed):
        batcher.submit(rows([1]))


def test_an_error_of_the_model_fails_its_round_and_no_other(worker, start):
    batcher = start()
    hold(worker, batcher)
    worker.fates = [None, ScoringError("out of memory")]
    answers = [batcher.submit(rows([1])), batcher.submit(rows([2], [3]))]
    worker.gate.set()
    # Its reward had come before.
    assert answers[0].result(SECONDS).tolist() == [1]
    with pytest.raises(ScoringError, match="out of memory"):
        answers[1].result(SECONDS)
    assert batcher.submit(rows([3])).result(SECONDS).tolist() == [3]


def test_a_reward_that_is_not_finite_fails_its_request_alone(worker, start, monkeypatch):
    batcher = start()
    hold(worker, batcher)
    good, bad = batcher.submit(rows([1])), batcher.submit(rows([2], [5]))
    own = worker.rewards

    def rewards(given):
        for indices, values in own(given):
            yield indices, np.where(values == 5, np.nan, values)

    monkeypatch.setattr(worker, "rewards", rewards)
    worker.gate.set()
    assert good.result(SECONDS).tolist() == [1]
    with pytest.raises(ScoringError, match="not finite"):
        bad.result(SECONDS)


def test_what_waits_at_the_end_is_told_so(worker, start):
    batcher = start()
    held = hold(worker, batcher)
    waiting = batcher.submit(rows([1]))
    batcher.close()
    assert held.result(SECONDS).tolist() == [9]
    with pytest.raises(Closed):
        waiting.result(SECONDS)
    with pytest.raises(Closed):
        batcher.submit(rows([1]))
