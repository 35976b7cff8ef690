"""Containers in which judges run: what an image may do, by Docker or Podman.

A container has no network, a file system that cannot be written to but for a small /tmp in memory, limits on memory
and processes, no capabilities, and the user `nobody`. The limits of `execution` hold within it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid

from codepmp_jax.cli.errors import UserError, require

_RUNTIMES = ("docker", "podman")
# For an answer that starts nothing.
_SECONDS = 60.0
# Of /tmp, in the container's memory; and the most processes and threads of it.
_TMP_MIB, _MOST_PROCESSES = 256, 256
_NOBODY = "65534:65534"


class Image:
    """An image whose `python` has this version of codepmp_jax with the extra `evaluation`."""

    identifier: str
    """Digest of the image."""

    def __init__(self, name: str):
        """Asks Docker, then Podman. Raises UserError where neither is there, or has the image."""
        self.name = name
        found = [path for runtime in _RUNTIMES if (path := shutil.which(runtime))]
        require(
            bool(found),
            "container",
            name,
            f"neither {' nor '.join(_RUNTIMES)} is on the PATH",
            "install one of them, or leave it out",
        )
        refusals = []
        for self._runtime in found:
            self.identifier, refusal = self._inspect()
            if not refusal:
                return
            refusals.append(f"{self._runtime}: {refusal}")
        raise self.error("; ".join(refusals))

    def _inspect(self) -> tuple[str, str]:
        """(digest, why there is none) of the image."""
        command = [self._runtime, "image", "inspect", "--format", "{{.Id}}", self.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return "", str(error)
        return done.stdout.strip(), last_line(done.stderr) if done.returncode else ""

    def error(self, reason: str) -> UserError:
        """What to raise where the image cannot judge."""
        return UserError(
            f"container = {self.name!r}: {reason}. Remedy: build or pull the image first, with python, this version of "
            "codepmp_jax and its extra `evaluation` in it, and see that it runs."
        )

    def command(self, name: str, memory: int, environment: dict[str, str]) -> list[str]:
        """The command that starts a container of that name and Python in it: Python's arguments come behind it. `memory` is
        the limit of a judge's process in bytes; the container has twice that, as every program is a process beside
        it, and /tmp."""
        mib = 2 * (memory >> 20) + _TMP_MIB
        return [
            *(self._runtime, "run", "--rm", "--interactive", "--pull", "never", "--name", name),
            *("--network", "none", "--read-only", "--workdir", "/tmp"),
            *("--tmpfs", f"/tmp:rw,nosuid,nodev,size={_TMP_MIB}m,mode=1777"),
            *("--memory", f"{mib}m", "--memory-swap", f"{mib}m"),
            *("--pids-limit", str(_MOST_PROCESSES), "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--user", _NOBODY),
            *(part for key, value in environment.items() for part in ("--env", f"{key}={value}")),
            *("--entrypoint", "python", self.name),
        ]

    def remove(self, name: str) -> None:
        """Ends a container, if it is there: the death of the command that started it does not."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [self._runtime, "rm", "--force", name],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
            )


def new_name() -> str:
    """A name that no other container has."""
    return f"codepmp-judge-{uuid.uuid4().hex}"


def last_line(text: str) -> str:
    """The last line of what a command says."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
