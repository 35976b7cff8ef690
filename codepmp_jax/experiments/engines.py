"""Where steps run: as processes of this machine, or as tasks of a Ray cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.follower import follower
from codepmp_jax.config.experiment import ClusterConfig

# Of this interpreter, and not of what is in the working directory (-P).
_CODEPMP = [sys.executable, "-P", "-m", "codepmp_jax"]


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    seconds: float


class Processes:
    """Processes of this machine, `most` at once. What several of them compile is compiled once."""

    def __init__(self, most: int):
        self.most = most
        """Number of commands to hand over at once."""
        self._pool = concurrent.futures.ThreadPoolExecutor(most)
        # Of this machine and this start: a program for one CPU need not run on another.
        self._cache = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False
        self._lock = threading.Lock()

    def start(self, words: Sequence[str], log: pathlib.Path) -> concurrent.futures.Future[Ended]:
        """Starts a command, or queues it; its output goes to the end of `log`."""
        variables = {"JAX_COMPILATION_CACHE_DIR": self._cache.name} | os.environ
        return self._pool.submit(run, words, log, variables, self)

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Takes note of a process that has begun."""
        with self._lock:
            self._running.add(process)
            if self._is_stopped:
                process.terminate()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Takes note of its end."""
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Asks all commands that run to end, as SIGTERM does."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()
        self._cache.cleanup()


class RayTasks:
    """Tasks of a Ray cluster, which places them and starts those of a lost node again."""

    def __init__(self, config: ClusterConfig):
        self._ray = ray = _import_ray()
        if not ray.is_initialized():
            ray.init(address=config.address, log_to_driver=False, logging_level="warning")
        self.most = sys.maxsize
        self._task = ray.remote(run).options(
            num_cpus=config.cpus_per_command, num_gpus=config.gpus_per_command
        )
        self._started: list[Any] = []

    def start(self, words: Sequence[str], log: pathlib.Path) -> concurrent.futures.Future[Ended]:
        """As in Processes."""
        # Relative paths are meant from here, wherever a node's workers start.
        reference = self._task.remote(list(words), log.resolve(), cwd=pathlib.Path.cwd())
        self._started.append(reference)
        return reference.future()

    def stop(self) -> None:
        """Cancels the tasks: a worker's KeyboardInterrupt ends its command."""
        for reference in self._started:
            with contextlib.suppress(Exception):  # one that has ended
                self._ray.cancel(reference)

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


Engine = Processes | RayTasks


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"engine = 'ray': ray is not installed ({error}). Remedy: pip install 'codepmp_jax[ray]'."
        ) from error
    return ray


def run(
    words: Sequence[str],
    log: pathlib.Path,
    variables: Mapping[str, str] | None = None,
    processes: Processes | None = None,
    cwd: pathlib.Path | None = None,
) -> Ended:
    """Runs a command to its end; its output goes to the end of `log`. A signal's number is negative."""
    # Also behind a launcher.
    program = [part for word in words for part in (_CODEPMP if word == "codepmp" else [word])]
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(words)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            follower(program),
            env=variables,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches the experiment alone, which asks its commands to end.
            start_new_session=True,
        )
        if processes is not None:
            processes.add(process)
        try:
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        finally:
            if processes is not None:
                processes.remove(process)
    return Ended(status, time.monotonic() - started)
