"""Spreads jobs over servers: each does as many as it can, and what one fails on goes to the others."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from codepmp_jax.synthesis.writers.rate_limit import LimitedError, RateLimit

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


class UnavailableError(Exception):
    """The server takes no jobs now; nothing is said of the job."""


class FailedError(Exception):
    """The server answers, but fails on this job. Another server may not."""


@dataclasses.dataclass(eq=False)
class Endpoint:
    """A server."""

    url: str
    concurrency: int
    """Jobs at a time."""
    is_up: bool = True
    """False once it was given up: then it gets one job at a time, until it has done one."""
    last_error: str = ""
    limit: RateLimit = dataclasses.field(default_factory=RateLimit)


Ask = Callable[[Endpoint, JobT], Awaitable[ResultT]]
Arrived = Callable[[int, "ResultT | FailedError"], None]


async def spread(
    jobs: Sequence[JobT],
    endpoints: Sequence[Endpoint],
    ask: Ask[JobT, ResultT],
    arrived: Arrived[ResultT],
    max_wait: float,
) -> None:
    """Calls `arrived` with each job's place and result as they come; the last server's FailedError where all of them
    failed on it.

    `ask` raises UnavailableError, LimitedError or FailedError; anything else ends all jobs. Each UnavailableError
    takes one from the jobs that the endpoint gets at a time; a LimitedError pauses the endpoint, which has
    answered nothing for at most `max_wait` seconds (see RateLimit). Raises UnavailableError that names the endpoints
    where none of them gets any more and jobs are left.
    """
    await _Spread(jobs, endpoints, ask, arrived, max_wait).run()


class _Spread(Generic[JobT, ResultT]):
    def __init__(
        self,
        jobs: Sequence[JobT],
        endpoints: Sequence[Endpoint],
        ask: Ask[JobT, ResultT],
        arrived: Arrived[ResultT],
        max_wait: float,
    ):
        self._jobs = jobs
        self._ask = ask
        self._arrived = arrived
        self._max_wait = max_wait
        self._num_done = 0
        self._waiting = collections.deque(range(len(jobs)))
        self._failures: dict[int, dict[Endpoint, FailedError]] = collections.defaultdict(dict)
        if not any(endpoint.is_up for endpoint in endpoints):
            for endpoint in endpoints:
                endpoint.is_up = True
                endpoint.limit = RateLimit()
        self._num_workers = {
            endpoint: min(endpoint.concurrency if endpoint.is_up else 1, len(jobs))
            for endpoint in endpoints
        }
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        workers = [
            asyncio.ensure_future(self._work(endpoint))
            for endpoint, number in self._num_workers.items()
            for _ in range(number)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self._num_done < len(self._jobs):
            raise UnavailableError(
                "; ".join(
                    f"{endpoint.url}: {endpoint.last_error}" for endpoint in self._num_workers
                )
            )

    def _finish(self, number: int, result: ResultT | FailedError) -> None:
        self._num_done += 1
        self._arrived(number, result)

    async def _work(self, endpoint: Endpoint) -> None:
        """Does one job after the other, until there is none left or the endpoint is unavailable."""
        while (number := await self._next(endpoint)) is not None:
            sent = endpoint.limit.take()
            is_answer = False
            try:
                result = await self._ask(endpoint, self._jobs[number])
                is_answer = True
            except LimitedError as error:
                self._pause(endpoint, error, sent)
                await self._put_back(number)
            except UnavailableError as error:
                endpoint.last_error = str(error)
                if self._num_workers[endpoint]:
                    self._num_workers[endpoint] -= 1
                endpoint.is_up = self._num_workers[endpoint] > 0
                await self._put_back(number)
                return
            except FailedError as error:
                self._failures[number][endpoint] = error
                await self._put_back(number)
            else:
                endpoint.is_up = True
                async with self._changed:
                    self._finish(number, result)
                    self._changed.notify_all()
            finally:
                endpoint.limit.ended(sent, is_answer)

    def _pause(self, endpoint: Endpoint, error: LimitedError, sent: float) -> None:
        """Gives an endpoint that limits its rate a pause, or gives it up."""
        pause = endpoint.limit.refused(sent, error.seconds, self._max_wait)
        if pause is None:
            asked = "" if error.seconds is None else f"it asks to wait {error.seconds:.0f} s; "
            endpoint.last_error = f"{error}; {asked}no answer within {self._max_wait:g} s"
            endpoint.is_up = False
            self._num_workers[endpoint] = 0
        elif pause:
            logging.warning(
                "%s limits its rate (%s): next request in %.0f s; given up after %g s without an answer",
                endpoint.url,
                error,
                pause,
                self._max_wait,
            )

    async def _next(self, endpoint: Endpoint) -> int | None:
        """A job that the endpoint has not failed on; waits while there may be one; None after the last."""
        async with self._changed:
            while self._num_done < len(self._jobs) and self._num_workers[endpoint]:
                delay = endpoint.limit.delay()
                if not delay:
                    for number in self._waiting:
                        if endpoint not in self._failures[number]:
                            self._waiting.remove(number)
                            return number
                with contextlib.suppress(TimeoutError):
                    limit = delay if 0 < delay < math.inf else None
                    await asyncio.wait_for(self._changed.wait(), limit)
        return None

    async def _put_back(self, number: int) -> None:
        """Leaves a job to the others. Jobs that every endpoint still at work has failed on have failed."""
        async with self._changed:
            self._waiting.appendleft(number)
            at_work = {endpoint for endpoint, workers in self._num_workers.items() if workers}
            for waiting in list(self._waiting):
                failures = self._failures[waiting]
                if at_work and at_work <= failures.keys():
                    self._waiting.remove(waiting)
                    self._finish(waiting, list(failures.values())[-1])
            self._changed.notify_all()
