"""Goodput: what the time of a run went to, over all its starts. Kept in WORKDIR/goodput.json."""

from __future__ import annotations

import copy
import json
import math
import time
from typing import Any

from etils import epath

from codepmp_jax.files.json_files import set_aside, write_json
from codepmp_jax.training.background import Background
from codepmp_jax.training.telemetry import is_main_process, logger

# Seconds between two writes, but for those at a checkpoint and at the end.
_WRITE_EVERY = 10.0
PHASES = {
    "init": "opening data, mesh and checkpoints, and drawing parameters",
    "restore": "reading a checkpoint",
    "compile": "tracing and compiling",
    "data_wait": "waiting for batches",
    "step": "steps that count",
    "eval": "evaluation",
    "save": "what saving held up",
    "lost": "steps that a later start did again",
    "idle": "between two starts, with what a killed process did not write down",
}


class Goodput:
    """A clock whose every second goes to one of PHASES."""

    def __init__(self, path: epath.Path):
        """Starts the clock; what earlier starts wrote to `path` is read by `resume`."""
        self._path = path
        self._background = Background()
        self._began = time.time()
        self._kept: dict[str, Any] = {
            "begun": self._began,
            "updated": self._began,
            "starts": 0,
            "lost_steps": 0,
            "seconds": dict.fromkeys(PHASES, 0.0),
            "step_seconds_at": {},
        }
        self._lapped = self._written = time.perf_counter()

    @property
    def _seconds(self) -> dict[str, float]:
        return self._kept["seconds"]

    def resume(self, step: int, lost_steps: int) -> None:
        """The run starts, or resumes from the checkpoint of `step` and repeats `lost_steps`.

        Times that cannot be read are set aside: the account begins anew.
        """
        here, kept = self._seconds, self._kept
        before = self._read()
        if before is not None:
            kept |= before
            seconds, at = kept["seconds"], kept["step_seconds_at"]
            productive = at.get(str(step), 0.0)
            seconds["lost"] += seconds["step"] - productive
            seconds["step"] = productive
            seconds["idle"] += max(0.0, self._began - kept["updated"])
            kept["seconds"] = {phase: seconds[phase] + here[phase] for phase in PHASES}
            kept["step_seconds_at"] = {n: s for n, s in at.items() if int(n) <= step}
        kept["starts"] += 1
        kept["lost_steps"] += lost_steps

    def _read(self) -> dict[str, Any] | None:
        """What earlier starts wrote; None where they wrote nothing or it is damaged."""
        try:
            kept = json.loads(self._path.read_text())
            numbers = [
                kept["begun"],
                kept["updated"],
                kept["starts"],
                kept["lost_steps"],
                *(kept["seconds"][phase] for phase in PHASES),
                *map(int, kept["step_seconds_at"]),
                *kept["step_seconds_at"].values(),
            ]
            if not all(math.isfinite(number) and number >= 0 for number in numbers):
                raise ValueError("times must be finite and not negative")
        except FileNotFoundError:
            return None
        # Whatever may stand in a file, or in place of it.
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if is_main_process():
                set_aside(self._path, repr(error))
            return None
        return kept

    def lap(self, phase: str) -> None:
        """What has passed since the last lap went to `phase`."""
        now = time.perf_counter()
        self._seconds[phase] += now - self._lapped
        self._lapped = now

    def saved(self, step: int) -> None:
        """A checkpoint of `step` is on its way."""
        self._kept["step_seconds_at"][str(step)] = self._seconds["step"]
        self.write()

    def write(self) -> None:
        """Writes the times so far, on the first host, in the background."""
        self._kept["updated"] = time.time()
        self._written = time.perf_counter()
        if is_main_process():
            self._background.run(self._write, copy.deepcopy(self._kept))

    def _write(self, kept: dict[str, Any]) -> None:
        try:
            write_json(self._path, kept)
        except Exception as error:  # each store has errors of its own
            logger.warning("%s: cannot be written: %s", self._path, error)

    def close(self) -> None:
        """Writes and logs the summary of a run that started; what passed since the last lap was saving."""
        if not self._kept["starts"]:
            return
        self.lap("save")
        self.write()
        self._background.close()
        logger.info("%s", self.summary())

    def write_now_and_then(self) -> None:
        """Writes if the last time is long ago and its write is done."""
        if time.perf_counter() - self._written > _WRITE_EVERY and self._background.is_idle:
            self.write()

    @property
    def share(self) -> float:
        """Seconds of steps that count, of all seconds."""
        return self._seconds["step"] / max(sum(self._seconds.values()), 1e-9)

    def summary(self) -> str:
        """One line: the share, and what the rest went to."""
        parts = [
            f"{phase.replace('_', ' ')} {seconds:.1f} s"
            for phase, seconds in self._seconds.items()
            if seconds >= 0.05
        ]
        return (
            f"goodput {100 * self.share:.1f} % of {sum(self._seconds.values()):.0f} s in "
            f"{self._kept['starts']} start(s), {self._kept['lost_steps']} step(s) done again: "
            f"{', '.join(parts)}"
        )
