"""Spreads jobs over servers: each does as many as it can, and what one fails on goes to the others."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

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


async def spread(
    jobs: Sequence[JobT],
    endpoints: Sequence[Endpoint],
    ask: Callable[[Endpoint, JobT], Awaitable[ResultT]],
) -> list[ResultT | FailedError]:
    """The result of each job, in their order; the last server's FailedError where all of them failed on it.

    `ask` raises UnavailableError or FailedError; anything else ends all jobs. Each UnavailableError takes
    one from the jobs that the endpoint gets at a time. Raises UnavailableError that names the endpoints
    where none of them gets any more and jobs are left.
    """
    return await _Spread(jobs, endpoints, ask).run()


class _Spread(Generic[JobT, ResultT]):
    def __init__(
        self,
        jobs: Sequence[JobT],
        endpoints: Sequence[Endpoint],
        ask: Callable[[Endpoint, JobT], Awaitable[ResultT]],
    ):
        self._jobs = jobs
        self._ask = ask
        self._results: dict[int, ResultT | FailedError] = {}
        self._waiting = collections.deque(range(len(jobs)))
        self._failures: dict[int, dict[Endpoint, FailedError]] = collections.defaultdict(dict)
        if not any(endpoint.is_up for endpoint in endpoints):
            for endpoint in endpoints:
                endpoint.is_up = True
        self._num_workers = {
            endpoint: min(endpoint.concurrency if endpoint.is_up else 1, len(jobs))
            for endpoint in endpoints
        }
        self._changed = asyncio.Condition()

    async def run(self) -> list[ResultT | FailedError]:
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
        if len(self._results) < len(self._jobs):
            raise UnavailableError(
                "; ".join(
                    f"{endpoint.url}: {endpoint.last_error}" for endpoint in self._num_workers
                )
            )
        return [self._results[number] for number in range(len(self._jobs))]

    async def _work(self, endpoint: Endpoint) -> None:
        """Does one job after the other, until there is none left or the endpoint is unavailable."""
        while (number := await self._next(endpoint)) is not None:
            try:
                result = await self._ask(endpoint, self._jobs[number])
            except UnavailableError as error:
                endpoint.last_error = str(error)
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
                    self._results[number] = result
                    self._changed.notify_all()

    async def _next(self, endpoint: Endpoint) -> int | None:
        """A job that the endpoint has not failed on; waits while there may be one; None after the last."""
        async with self._changed:
            while len(self._results) < len(self._jobs):
                for number in self._waiting:
                    if endpoint not in self._failures[number]:
                        self._waiting.remove(number)
                        return number
                await self._changed.wait()
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
                    self._results[waiting] = list(failures.values())[-1]
            self._changed.notify_all()
