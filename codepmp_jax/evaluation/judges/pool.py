"""Processes that judge, each of which is killed and replaced when it takes too long."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import codepmp_jax
from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.judges import container
from codepmp_jax.evaluation.judges.container import Image
from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.judges.execution import TIMED_OUT
from codepmp_jax.tasks.judges.judge import Judgement

JUDGE_DIED, JUDGE_FAILED = "judge died", "judge failed"
# Longest start of a process.
_START_SECONDS = 120.0
# The workers' environment. numpy needs no threads to judge.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class _Worker:
    """One process, perhaps in a container of its own, started when it is first needed."""

    def __init__(self, memory: int, tasks: Sequence[str], image: Image | None):
        self._arguments = (str(memory), *tasks)
        self._image = image
        self._container = ""
        self._process: subprocess.Popen[bytes] | None = None

    def judge(self, job: dict[str, Any]) -> Judgement:
        """The judgement of a job, within its deadline (seconds).

        Where the judge itself fails, that is the verdict, and its error is printed. Raises UserError where the
        process does not start.
        """
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it died while it had nothing to judge
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            line = self._read(process, job["deadline"])
        except BrokenPipeError:
            line = b""
        if not line:
            self.close()
            return Judgement(False, None, TIMED_OUT if line is None else JUDGE_DIED)
        reply = json.loads(line)
        if isinstance(reply, dict):
            _print_once(f"the judge of {job['task']} failed: {reply['error']}")
            return Judgement(False, None, JUDGE_FAILED)
        return Judgement(*reply)

    def _start(self) -> subprocess.Popen[bytes]:
        memory, *tasks = self._arguments
        command, environment = [sys.executable], dict(os.environ)
        if self._image is not None:
            self._container = container.new_name()
            command = self._image.command(self._container, int(memory), _ENVIRONMENT)
        else:
            inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
            environment = _ENVIRONMENT | inherited
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*command, "-m", "codepmp_jax.evaluation.judges.worker", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
            line = self._read(process, _START_SECONDS)
            if line and json.loads(line) == codepmp_jax.__version__:
                return process
            process.kill()
            process.communicate()
            errors.seek(0)
            said = container.last_line(errors.read().decode(errors="replace"))
        if self._image is None:
            raise UserError(
                f"memory_mib = {int(memory) >> 20}: no process started that judges {' '.join(tasks)}. Remedy: leave it "
                "out, or see that the machine can start processes."
            )
        self._image.remove(self._container)
        if line:
            said = f"it has version {line.decode().strip()}, and this is {codepmp_jax.__version__}"
        raise self._image.error(f"no process started in it that judges {' '.join(tasks)} ({said})")

    @staticmethod
    def _read(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """The next line of a process: empty where it has ended, None where it takes longer."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return process.stdout.readline() if ready else None

    def close(self) -> None:
        """Ends the process; the next job starts another."""
        if self._process is None:
            return
        with self._process as process:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                assert process.stdin is not None
                process.stdin.close()
        if self._image is not None:
            self._image.remove(self._container)
        self._process = None


@functools.cache
def _print_once(error: str) -> None:
    print(error, file=sys.stderr)


class JudgePool:
    """Judges responses, `num_workers` at a time. A context manager."""

    def __init__(
        self,
        tasks: Sequence[str],
        num_workers: int,
        timeout: float,
        memory: int,
        image: Image | None = None,
    ):
        """Processes for responses to problems of `tasks`, with `timeout` seconds for a response and `memory` bytes of
        address space each; in containers of an image, if one is given."""
        self._tasks = tasks
        self._image = image
        self._timeout = timeout
        self._memory = memory
        self._workers: list[_Worker] = []
        self._own = threading.local()
        self._threads = concurrent.futures.ThreadPoolExecutor(
            num_workers, initializer=self._add_worker
        )

    def _add_worker(self) -> None:
        self._own.worker = _Worker(self._memory, self._tasks, self._image)
        self._workers.append(self._own.worker)

    def submit(self, problem: Problem, response: str) -> Future[Judgement]:
        """The future judgement of a response to a problem."""
        judge = find_task(problem.task, problem.problem_id).judge
        job = {
            "task": problem.task,
            "prompt": problem.prompt,
            "reference": problem.reference,
            "response": response,
            "timeout": self._timeout,
            "deadline": judge.deadline(problem.reference, self._timeout),
        }
        return self._threads.submit(lambda: self._own.worker.judge(job))

    def __enter__(self) -> JudgePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()
