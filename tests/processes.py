"""Commands that tests run: each in a session of its own, which ends with the test, and without pipes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

# Longest time that a command or a condition takes (seconds): many times that of an idle machine.
LIMIT_SECONDS = 540.0
# Time for what SIGTERM asks, and for the end after SIGKILL.
GRACE_SECONDS = 10.0


class Process:
    """A running command. As a context manager it ends the command and all that descends from it.

    stdout and stderr go to files, so that no wait depends on who else has inherited a pipe.
    """

    def __init__(
        self,
        command: Sequence[object],
        env: Mapping[str, str] | None = None,
        cwd: pathlib.Path | None = None,
    ):
        self.command = list(map(str, command))
        self._stdout, self._stderr = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self._popen = subprocess.Popen(
            self.command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
        )
        self.pid = self._popen.pid

    @property
    def stdout(self) -> str:
        """What the command and its children have written to stdout."""
        return _text(self._stdout)

    @property
    def stderr(self) -> str:
        """What the command and its children have written to stderr."""
        return _text(self._stderr)

    def poll(self) -> int | None:
        """The exit status; None while the command runs."""
        return self._popen.poll()

    def wait(self, seconds: float = LIMIT_SECONDS) -> int:
        """The exit status. Fails with the command's output where it takes longer."""
        try:
            return self._popen.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"ran for more than {seconds} s: {self._report()}") from error

    def finish(self, seconds: float = LIMIT_SECONDS) -> subprocess.CompletedProcess[str]:
        """Waits for the end; exit status and output."""
        status = self.wait(seconds)
        return subprocess.CompletedProcess(self.command, status, self.stdout, self.stderr)

    def until(self, condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
        """Waits for a condition. Fails with the command's output where it ends before, or takes longer."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.poll() is None, f"ended too early: {self._report()}"
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {self._report()}"
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Sends a signal to the command alone."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kills the command alone, as kill -9 does, and waits for its end."""
        self._popen.kill()
        self.wait(GRACE_SECONDS)

    def children(self) -> list[int]:
        """Processes that the command itself has started, from any of its threads."""
        found: list[int] = []
        for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # of a thread that has ended
                found += map(int, path.read_text().split())
        return found

    def _report(self) -> str:
        return f"{' '.join(self.command)}: status {self.poll()}\n{self.stdout}\n{self.stderr}"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        family: set[int] = set()
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + GRACE_SECONDS
            while True:
                new = _family(self.pid) - family
                family |= new
                self.poll()  # so that it does not stay a zombie
                alive = {pid for pid in family if is_alive(pid)}
                for pid in new if number == signal.SIGTERM else alive:
                    _signal(pid, number)
                if not alive or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        self._stdout.close()
        self._stderr.close()
        assert not alive, f"survived SIGKILL: {alive}"


def run(
    command: Sequence[object],
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
    seconds: float = LIMIT_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, whatever its exit status; nothing of it is left."""
    with Process(command, env, cwd) as process:
        return process.finish(seconds)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _text(file: IO[bytes]) -> str:
    """All that has been written to a file."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] != "Z"


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, session) of a process; None where there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, parent, _, session = text.rpartition(")")[2].split()[:4]
    return state, int(parent), int(session)


def _family(pid: int) -> set[int]:
    """The processes of the session `pid` and all that descend from them, in whatever session."""
    stats = {
        int(path.name): stat
        for path in pathlib.Path("/proc").iterdir()
        if path.name.isdecimal() and (stat := _stat(int(path.name))) is not None
    }
    found = {number for number, (_, _, session) in stats.items() if session == pid}
    while more := {number for number, (_, parent, _) in stats.items() if parent in found} - found:
        found |= more
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
