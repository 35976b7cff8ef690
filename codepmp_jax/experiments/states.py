"""What has become of each step: a file a step, so that a killed experiment goes on where it was.

    OUTPUT/steps/PLACE.json    identity, command, status, seconds
    OUTPUT/steps/PLACE.log     what the command wrote to stdout and stderr
    OUTPUT/superseded/         outputs of steps whose settings or inputs have changed since; nothing is deleted

A step is done if its file says so of the same identity, and its output is there.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import shlex
from collections.abc import Iterable
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.experiments.grid import Step
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json

_logger = logging.getLogger("codepmp_jax")

# Stages that go on where they were killed. What others left unfinished is removed before they start again.
_RESUMABLE = (
    "candidates",
    "corpus",
    "evaluate judge",
    "evaluate score",
    "logprobs",
    "synthesize",
    "train",
)


@dataclasses.dataclass(frozen=True)
class State:
    """What the file of a step says."""

    identity: str
    status: str
    """`begun`, `done` or `failed`."""
    seconds: float
    """Of the run that ended the step."""
    is_whole: bool
    """Whether that run was the first, so that its seconds are those of the whole step."""


class States:
    """The states of an experiment's steps."""

    def __init__(self, output: str):
        self._output = pathlib.Path(output)
        # Nobody else writes them meanwhile.
        self._read: dict[str, State | None] = {}

    def log(self, step: Step) -> pathlib.Path:
        """The log of a step."""
        return self._output / "steps" / f"{step.place}.log"

    def _path(self, step: Step) -> pathlib.Path:
        return self._output / "steps" / f"{step.place}.json"

    def read(self, step: Step) -> State | None:
        """The state of a step, whichever identity it is of; None where there is none, or it is damaged."""
        if step.place not in self._read:
            names = [field.name for field in dataclasses.fields(State)]
            try:
                value = json.loads(self._path(step).read_text(encoding="utf-8"))
                self._read[step.place] = State(**{name: value[name] for name in names})
            except (OSError, ValueError, KeyError, TypeError):
                self._read[step.place] = None
        return self._read[step.place]

    def is_changed(self, step: Step) -> bool:
        """Whether a step of other settings or inputs has been run in the same place."""
        state = self.read(step)
        return state is not None and state.identity != step.identity

    def is_done(self, step: Step) -> bool:
        """Whether the step was run to its end with these settings and inputs, and its output is there."""
        state = self.read(step)
        if state is None or (state.identity, state.status) != (step.identity, "done"):
            return False
        return step.output is None or storage.to_path(step.output).exists()

    def done(self, steps: Iterable[Step]) -> set[str]:
        """Places of the steps that are done, all that they need included."""
        found: set[str] = set()
        for step in steps:
            if self.is_done(step) and found.issuperset(step.needs):
                found.add(step.place)
        return found

    def begin(self, step: Step) -> None:
        """Makes way for the step's output, and notes that it has begun."""
        before = self.read(step)
        is_same = before is not None and before.identity == step.identity
        if not is_same:
            self._supersede(step, before)
        elif step.output is not None and step.command not in _RESUMABLE:
            _remove(step.output)
        self._write(step, "begun", 0.0, is_whole=not is_same)

    def end(self, step: Step, status: int, seconds: float) -> None:
        """Notes that the step has ended."""
        state = self.read(step)
        is_whole = state is not None and state.is_whole
        self._write(step, "failed" if status else "done", seconds, is_whole)

    def _write(self, step: Step, status: str, seconds: float, is_whole: bool) -> None:
        state = State(step.identity, status, round(seconds, 3), is_whole)
        self._read[step.place] = state
        value: dict[str, Any] = {
            **dataclasses.asdict(state),
            "command": shlex.join(step.words),
            "output": step.output,
        }
        with storage.storage_errors(self._path(step), "written"):
            self._path(step).parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path(step), value)

    def _supersede(self, step: Step, before: State | None) -> None:
        """Moves away what another step has written in the same place."""
        files = [self._path(step), self.log(step)]
        if step.output is not None:
            files += _files_of(step.output)
        there = [path for path in files if storage.to_path(path).exists()]
        if not there:
            return
        identity = "unknown" if before is None else before.identity[:8]
        target = self._output / "superseded" / identity / pathlib.Path(step.place).parent
        for path in there:
            if storage.is_bucket(path):
                raise UserError(
                    f"{path}: is of other settings or inputs than the grid has now. Remedy: move or remove it, or "
                    "give another --runs."
                )
            target.mkdir(parents=True, exist_ok=True)
            aside = target / pathlib.Path(path).name
            number = 1
            while aside.exists():
                number += 1
                aside = target / f"{pathlib.Path(path).name}.{number}"
            pathlib.Path(path).rename(aside)
        _logger.warning("%s: has changed; what it wrote before is kept in %s", step.place, target)


def _files_of(output: str) -> list[Any]:
    """The output of a command, and what belongs to it beside it."""
    path = storage.to_path(output)
    beside = [path.with_suffix(".meta.json"), path.with_name(f"{path.name}.partial")]
    return [path, *(beside if path.suffix else beside[1:])]


def _remove(output: str) -> None:
    """Removes what a run that was killed or failed has left."""
    for found in _files_of(output):
        if found.is_dir():
            found.rmtree()
        elif found.exists():
            found.unlink()
