"""Requests -> rounds: what waits is scored together, equal texts once and what texts begin with in common once.

A reward does not depend on the other texts of its round (codepmp_jax.evaluation.scorers), so a request gets the same
rewards whatever else is under way. A request is answered when its own last text is, not at the end of the round.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.serving.metrics import Metrics
from codepmp_jax.serving.texts import distinct
from codepmp_jax.serving.worker import ScoringError, Worker

logger = logging.getLogger("codepmp_jax")

# Chunks of the scorer in a round: enough to share prompts, few enough that a short request does not wait long.
_CHUNKS = 8
_LAST_ROUND_SECONDS = 1.0
# Times that a round is begun again after its worker was killed.
_RETRIES = 1


class QueueFull(Exception):
    """As many texts wait as may."""


class Closed(Exception):
    """No more rewards are computed."""


@dataclasses.dataclass(eq=False)
class _Job:
    rows: Sequence[np.ndarray]
    answer: Future[np.ndarray]
    rewards: np.ndarray
    """[R] float32; NaN where there is none yet."""


class Batcher:
    """Scores the rows of requests from any thread, in a thread of its own."""

    def __init__(
        self,
        worker: Worker,
        metrics: Metrics,
        queued_texts: int,
        gather_seconds: float = 0.0,
        on_failure: Callable[[UserError], None] = lambda error: None,
    ):
        """`on_failure` is called once, when the worker cannot be started again."""
        self._worker = worker
        self._metrics = metrics
        self._queued_texts = queued_texts
        self._gather_seconds = gather_seconds
        self._on_failure = on_failure
        self._round_tokens = _CHUNKS * int(worker.facts["batch_tokens"])
        self._jobs: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="batcher")
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the worker runs and takes more."""
        return not self._is_closed and self._worker.is_alive

    def submit(self, rows: Sequence[np.ndarray]) -> Future[np.ndarray]:
        """The rewards ([R] float32) of a request's rows, once there are some. To cancel it takes the rows back.

        Raises QueueFull where too many texts wait, and Closed after `close`. The future raises ScoringError.
        """
        job = _Job(rows, Future(), np.full(len(rows), np.nan, np.float32))
        with self._changed:
            if self._is_closed:
                raise Closed
            self._drop_cancelled()
            waiting = self._num_waiting()
            if waiting + len(rows) > self._queued_texts:
                raise QueueFull(f"{waiting} texts wait")
            self._jobs.append(job)
            self._metrics.queued.set(waiting + len(rows))
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Ends the thread; what waits gets Closed. A round that does not end ends with its worker."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(_LAST_ROUND_SECONDS)
        if self._thread.is_alive():
            self._worker.kill()
            self._thread.join()

    def _num_waiting(self) -> int:
        return sum(len(job.rows) for job in self._jobs)

    def _drop_cancelled(self) -> None:
        if any(job.answer.cancelled() for job in self._jobs):
            self._jobs = collections.deque(job for job in self._jobs if not job.answer.cancelled())

    def _take(self) -> list[_Job]:
        """The jobs of the next round; none after `close`."""
        with self._changed:
            while not self._jobs and not self._is_closed:
                self._changed.wait()
                if self._jobs and self._gather_seconds:
                    deadline = time.monotonic() + self._gather_seconds
                    while not self._is_closed and (left := deadline - time.monotonic()) > 0:
                        self._changed.wait(left)
            if self._is_closed:
                return []
            self._drop_cancelled()
            taken: list[_Job] = []
            size = 0
            while self._jobs:
                tokens = sum(map(len, self._jobs[0].rows))
                if taken and size + tokens > self._round_tokens:
                    break
                taken.append(self._jobs.popleft())
                size += tokens
            self._metrics.queued.set(self._num_waiting())
        return [job for job in taken if job.answer.set_running_or_notify_cancel()]

    def _run(self) -> None:
        failure: Exception = Closed()
        while not self._is_closed:
            jobs = self._take()
            if not jobs:
                continue
            try:
                self._score(jobs)
            except UserError as error:  # the worker cannot be started again
                failure = ScoringError(str(error))
                for job in jobs:
                    _fail(job, failure)
                with self._changed:
                    self._is_closed = True
                self._on_failure(error)
        with self._changed:
            left, self._jobs = list(self._jobs), collections.deque()
        for job in left:
            if job.answer.set_running_or_notify_cancel():
                _fail(job, failure)

    def _score(self, jobs: Sequence[_Job]) -> None:
        """Answers the jobs. Raises UserError where the worker was killed and does not start again."""
        for attempt in range(_RETRIES + 1):
            open_jobs = [job for job in jobs if not job.answer.done()]
            try:
                self._round(open_jobs)
                return
            except ScoringError as error:
                logger.error("%d requests failed: %s", len(open_jobs), error)
                for job in open_jobs:
                    _fail(job, error)
                return
            except WorkerLostError as error:
                if attempt == _RETRIES or self._is_closed:
                    for job in open_jobs:
                        _fail(job, ScoringError(str(error)))
                if self._is_closed:
                    return
                logger.error("%s It is started again.", error)
                self._worker.restart()
                self._metrics.restarts.inc()

    def _round(self, jobs: Sequence[_Job]) -> None:
        places = [(job, index) for job in jobs for index in range(len(job.rows))]
        rows, own = distinct([job.rows[index] for job, index in places])
        takers: list[list[tuple[_Job, int]]] = [[] for _ in rows]
        for place, row in zip(places, own, strict=True):
            takers[row].append(place)
        missing = {job: len(job.rows) for job in jobs}
        self._metrics.together.observe(len(places))
        for indices, values in self._worker.rewards(rows):
            for row, value in zip(indices, values, strict=True):
                for job, index in takers[row]:
                    job.rewards[index] = value
                    missing[job] -= 1
                    if not missing[job]:
                        self._answer(job)

    def _answer(self, job: _Job) -> None:
        if not np.isfinite(job.rewards).all():
            _fail(
                job,
                ScoringError(
                    "a reward is not finite: the model's weights are damaged, or --scorer.dtype float32 is needed"
                ),
            )
            return
        self._metrics.texts.inc(len(job.rows))
        self._metrics.tokens.inc(sum(map(len, job.rows)))
        job.answer.set_result(job.rewards)


def _fail(job: _Job, error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
