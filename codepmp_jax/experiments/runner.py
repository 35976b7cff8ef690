"""Runs the steps of a grid that are not done, each after those that it needs.

A step that fails ends nothing but the steps that need it: those of its cell, or of all cells that share it. The same
command tries failed steps again.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import graphlib
import pathlib
import shlex
import signal
import threading
from collections.abc import Callable, Iterator

from codepmp_jax.experiments.engines import Ended, Engine
from codepmp_jax.experiments.grid import Plan, Step
from codepmp_jax.experiments.states import States

# How often a signal is looked for while commands run (seconds).
_PATIENCE = 0.2
_TAIL_LINES = 8

Estimate = Callable[[set[str]], float | None]
"""Seconds that the steps at these places take one after the other; None where that is not known."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the steps of a grid ended."""

    failed: list[str]
    """Places of the steps that failed."""
    blocked: list[str]
    """Places of those that need one of them."""
    is_stopped: bool
    """Whether a signal ended the work before the rest was done."""


class Runner:
    """Runs a plan once."""

    def __init__(
        self, plan: Plan, states: States, engine: Engine, launcher: str, estimate: Estimate
    ):
        """`launcher` are words before each training command; progress goes to stdout, a line a step."""
        self._plan = plan
        self._states = states
        self._engine = engine
        self._launcher = shlex.split(launcher)
        self._estimate = estimate
        self._steps = {step.place: step for step in plan.steps}
        self._done = states.done(plan.steps)
        self._failed: list[str] = []
        self._blocked: list[str] = []

    def run(self) -> Outcome:
        """Runs what is not done, until nothing is left that can be, or a signal asks for the end."""
        order = {place: number for number, place in enumerate(self._steps)}
        todo = self._steps.keys() - self._done
        sorter = graphlib.TopologicalSorter(
            {place: todo.intersection(self._steps[place].needs) for place in todo}
        )
        sorter.prepare()
        ready: list[str] = []
        running: dict[concurrent.futures.Future[Ended], Step] = {}
        with _signals() as asked_to_stop:
            while sorter.is_active():
                ready = sorted([*ready, *sorter.get_ready()], key=order.__getitem__)
                while ready and len(running) < self._engine.most and not asked_to_stop.is_set():
                    step = self._steps[ready.pop(0)]
                    if set(step.needs).isdisjoint([*self._failed, *self._blocked]):
                        running[self._start(step)] = step
                    else:
                        self._blocked.append(step.place)
                        sorter.done(step.place)
                if asked_to_stop.is_set():
                    break
                for future in concurrent.futures.wait(
                    running, _PATIENCE, concurrent.futures.FIRST_COMPLETED
                ).done:
                    step = running.pop(future)
                    self._end(step, *_result(future))
                    sorter.done(step.place)
            if asked_to_stop.is_set():
                self._stop(running)
        return Outcome(self._failed, self._blocked, asked_to_stop.is_set())

    def _start(self, step: Step) -> concurrent.futures.Future[Ended]:
        self._states.begin(step)
        launcher = self._launcher if step.command == "train" else []
        return self._engine.start([*launcher, *step.words], self._states.log(step))

    def _stop(self, running: dict[concurrent.futures.Future[Ended], Step]) -> None:
        """Ends what runs; what is done by then counts, and the rest goes on at the next start."""
        print(f"stopping: {len(running)} command(s) are asked to save and end", flush=True)
        self._engine.stop()
        for future, step in running.items():
            ended, words = _result(future)
            if ended.status == 0:
                self._end(step, ended, words)

    def _end(self, step: Step, ended: Ended, error: str) -> None:
        """Notes how a step ended, and says so."""
        self._states.end(step, ended.status, ended.seconds)
        (self._failed.append if ended.status else self._done.add)(step.place)
        num_cells = sum(
            self._done.issuperset(each.place for each in self._plan.of_cell(cell.name))
            for cell in self._plan.cells
        )
        cells = (
            f"; {num_cells} of {len(self._plan.cells)} cells" if len(self._plan.cells) > 1 else ""
        )
        seconds = self._estimate(self._steps.keys() - self._done - {*self._failed})
        left = "" if seconds is None else f", about {show_seconds(seconds)} left"
        how = f"failed with status {ended.status}" if ended.status else "done"
        print(
            f"[{len(self._done)}/{len(self._steps)}] {step.place}: {how} after {show_seconds(ended.seconds)}"
            f"{cells}{left}",
            flush=True,
        )
        if ended.status:
            log = self._states.log(step)
            print("".join(f"    {line}\n" for line in [*_tail(log), *error.splitlines()]), end="")
            print(f"    log: {log}", flush=True)


def _result(future: concurrent.futures.Future[Ended]) -> tuple[Ended, str]:
    """How a command ended, and the engine's error where it could not be run."""
    try:
        return future.result(), ""
    except Exception as error:  # of a cluster, each in its own way
        return Ended(1, 0.0), f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that is set by SIGTERM and Ctrl-C; after the first of them they do what they did before."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*signalled: object) -> None:
        event.set()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        restore()


def _tail(log: pathlib.Path) -> list[str]:
    """The last lines of the log of the command that ran last."""
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line[:400] for line in lines[-_TAIL_LINES:]]


def show_seconds(seconds: float) -> str:
    """A time as `34 s`, `12 min` or `5.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
