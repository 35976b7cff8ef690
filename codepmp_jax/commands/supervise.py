"""Runs a training command until it is done: starts it again when it asks to be resumed, and when it crashes.

    codepmp supervise -- codepmp train --config pmp_7b --workdir DIR --data.input PAIRS

One on each host. SIGTERM goes on to the command, which saves, and is the end. The exit status is the
command's last one; launch/README.md lists them.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import MISTAKE, RESUME
from codepmp_jax.config import SuperviseConfig, presets

COMMAND = (SuperviseConfig, "Runs the command after -- until it is done.")
# Seconds that a wait after a crash is at most.
_LONGEST_WAIT = 600.0


class Supervisor:
    """Keeps one command running."""

    def __init__(self, config: SuperviseConfig, command: list[str]):
        self._config = config
        self._command = command
        self._process: subprocess.Popen | None = None
        self._is_stopped = False

    def stop(self, *signalled: object) -> None:
        """Passes SIGTERM on; the command is not started again."""
        self._is_stopped = True
        if self._process is not None:
            self._process.terminate()

    def run(self) -> int:
        """The command's last exit status."""
        signal.signal(signal.SIGTERM, self.stop)
        crashes = 0
        while True:
            started = time.monotonic()
            status = self._run_once()
            if status in (0, MISTAKE) or self._is_stopped:
                return status
            if status == RESUME:
                crashes = 0
                self._say("asks to be resumed; starting it again")
                continue
            is_steady = time.monotonic() - started >= self._config.steady_seconds
            crashes = 1 if is_steady else crashes + 1
            if crashes > self._config.max_crashes:
                self._say(f"status {status}, crash {crashes} in a row: giving up")
                return status
            wait = min(self._config.backoff_seconds * 2 ** (crashes - 1), _LONGEST_WAIT)
            self._say(f"status {status}, crash {crashes} in a row; again in {wait:.0f} s")
            wake = time.monotonic() + wait
            while time.monotonic() < wake:
                if self._is_stopped:
                    return RESUME
                time.sleep(min(0.2, wait))

    def _run_once(self) -> int:
        try:
            self._process = subprocess.Popen(self._command)
        except OSError as error:
            raise UserError(
                f"{self._command[0]}: cannot be started ({error}). Remedy: give the command after --."
            ) from error
        if self._is_stopped:
            self._process.terminate()
        return self._process.wait()

    def _say(self, what: str) -> None:
        shown = " ".join(shlex.join(self._command).split())[:80]
        print(f"supervise: {shown}: {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Parses what stands before --, runs what stands after it."""
    arguments, command = presets.split_arguments()
    config = presets.parse(*COMMAND, arguments)
    if not command:
        raise UserError("no command. Remedy: give it after --, e.g. -- codepmp train ...")
    status = Supervisor(config, command).run()
    # A signal that ended the command is a negative number here, and 128 + number in a shell.
    sys.exit(status if status >= 0 else 128 - status)
