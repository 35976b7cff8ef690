"""The training run: restore or initialise, step, log, evaluate, save."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import jax

from codepmp_jax.checkpoint import param_store
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.mixture import datasets, sizes_of
from codepmp_jax.devices import chips, hosts, memory, sharding
from codepmp_jax.files import arrivals, storage
from codepmp_jax.models.preference import Params
from codepmp_jax.text import forms
from codepmp_jax.training import telemetry
from codepmp_jax.training.drop_log import DropLog
from codepmp_jax.training.feed import Feed, FetchedBatch
from codepmp_jax.training.goodput import Goodput
from codepmp_jax.training.preemption import Preempted, Preemption
from codepmp_jax.training.run import Run, Start
from codepmp_jax.training.step import Metrics, evaluate_batch, jit_train_step
from codepmp_jax.training.telemetry import MetricsWriter, logger
from codepmp_jax.training.trace import Trace
from codepmp_jax.training.watchdog import Watchdog
from codepmp_jax.training.window import Window, total_counts


def train(
    config: TrainConfig, load_params: Callable[[Params], Params] | None = None
) -> dict[str, Any]:
    """Runs or resumes the run in config.workdir until its last step; returns the last metrics.

    `load_params` fills the abstract parameters of a new run (see init_state). SIGTERM to any host saves
    after the step at hand and raises Preempted, which ends the process with exit_codes.RESUME. Raises
    UserError before any device work where config, data, devices, checkpoint or hosts do not fit together;
    and where numbers are not finite or memory runs out.
    """
    workdir = storage.to_path(config.workdir)
    with contextlib.ExitStack() as stack:
        preemption = stack.enter_context(Preemption())
        watchdog = Watchdog(config.watchdog.seconds, _num_bytes_moved)
        stack.enter_context(contextlib.closing(watchdog))
        goodput = stack.enter_context(contextlib.closing(Goodput(workdir / "goodput.json")))
        with hosts.leaving_on_error():
            run = stack.enter_context(contextlib.closing(Run(config)))
        stack.enter_context(hosts.leaving_on_error())
        goodput.lap("init")
        start = run.start(load_params)
        goodput.lap("restore" if start.step else "init")
        logger.info(
            "%.1f M parameters, %d %ss, mesh data %d x fsdp %d x tensor %d of %s",
            sum(leaf.size for leaf in jax.tree.leaves(run.abstract.params)) / 1e6,
            len(run.chosen_records),
            run.objective.kind.noun,
            *run.mesh_sizes,
            jax.devices()[0].device_kind,
        )
        if telemetry.is_main_process():
            run.write_settings()
            forms.write_form(
                workdir, forms.of_data(config.data, forms.of_records(*datasets(run.train_records)))
            )
        # The row of a step whose evaluation was cut off is written when that is done.
        num_rows = start.step - (start.resume_state.unevaluated is not None)
        writer = stack.enter_context(contextlib.closing(MetricsWriter(workdir, num_rows)))
        lost_steps = max(0, writer.last_step - start.step)
        if lost_steps:
            logger.warning("%d step(s) after step %d are done again", lost_steps, start.step)
        goodput.resume(start.step, lost_steps)
        stack.enter_context(jax.set_mesh(run.mesh))
        stack.enter_context(memory.explained(run.config, run.mesh_sizes))
        loop = _Loop(run, start, preemption, watchdog, goodput, writer)
        stack.enter_context(contextlib.closing(loop))
        return loop.run_steps()


def _num_bytes_moved() -> int:
    return arrivals.total() + param_store.num_bytes_moved()


class _Loop:
    """The steps of a run from its start on."""

    def __init__(
        self,
        run: Run,
        start: Start,
        preemption: Preemption,
        watchdog: Watchdog,
        goodput: Goodput,
        writer: MetricsWriter,
    ):
        self._run = run
        self._config = config = run.config
        self._first_step, self._state, self._resume_state = start
        self._preemption = preemption
        self._watchdog = watchdog
        self._goodput = goodput
        self._writer = writer
        shardings = jax.tree.map(lambda leaf: leaf.sharding, run.abstract)
        num_slices = sharding.count_slices(jax.devices())
        options = chips.compiler_options(config, run.chip, num_slices)
        self._train_step = jit_train_step(config, run.num_steps, shardings, options)
        self._evaluate_batch = jax.jit(lambda params, batch: evaluate_batch(params, batch, config))
        self._drops = DropLog(run.objective.layout(), sizes_of(run.chosen_records))
        self._trace = Trace(config.profile, f"{config.workdir}/profile")
        self._bar = progress(
            total=run.num_steps,
            initial=start.step,
            unit="step",
            disable=not telemetry.is_main_process(),
        )
        self._last: dict[str, Any] = {}
        self._counts = total_counts([run.batches.counts])[0]
        """The data's counts of all hosts as of the last line of the log."""
        self._ended: Window | None = None
        """A window that is to be logged while the step after it runs."""

    def close(self) -> None:
        """Ends trace and progress bar."""
        self._trace.close()
        self._bar.close()

    def run_steps(self) -> dict[str, Any]:
        """Steps to the end; the last metrics. Raises Preempted, with all saved, where the run is to stop."""
        run, preemption = self._run, self._preemption
        if preemption.noticed():
            raise Preempted
        unevaluated = self._resume_state.unevaluated
        if unevaluated is not None:
            if not self._evaluate(unevaluated):
                raise Preempted
            self._resume_state.unevaluated = None
            self._write([unevaluated])
        # Compiled now: no time for that when the run is asked to stop.
        run.check_finite(self._first_step, self._state)
        feed = Feed(run.batches, run.mesh)
        window, running = Window(), None
        for step in range(self._first_step + 1, run.num_steps + 1):
            self._watchdog.beat(f"step {step}")
            batch, fetched = feed.take()
            self._goodput.lap("data_wait")
            metrics = self._step(step, batch)
            window.add(step, metrics, fetched)
            # Two steps are under way, so that the devices need not wait, and no more: a notice is heard within them.
            jax.block_until_ready(running)
            running = metrics
            if self._ended is not None:
                self._ended.ended = window.started = time.perf_counter()
            self._goodput.lap("step")
            is_stop = preemption.noticed()
            if step < run.num_steps and not is_stop:
                feed.prefetch()
                self._goodput.lap("data_wait")
            self._log_ended()
            if self._end_window(step, window, fetched, is_stop):
                window = Window()
        return self._last

    def _step(self, step: int, batch: Batch) -> Metrics:
        """Starts the step; its metrics, which may still be on their way."""
        self._trace.before(step, self._state)
        self._state, metrics = self._train_step(self._state, batch)
        # The first call compiles before it returns; the others return at once.
        self._goodput.lap("compile" if step == self._first_step + 1 else "step")
        self._trace.after(step, self._state)
        return metrics

    def _end_window(self, step: int, window: Window, fetched: FetchedBatch, is_stop: bool) -> bool:
        """Logs, evaluates and saves after `step` if it is time to; whether it was.

        Where there is only something to log, that is done when the next step is under way.
        """
        run, config, resume_state = self._run, self._config, self._resume_state
        is_last = step == run.num_steps
        is_eval = is_last or step % config.eval_every_steps == 0
        is_save = is_last or is_stop or run.checkpointer.should_save(step)
        if not (is_eval or is_save):
            is_log = step % config.log_every_steps == 0
            self._ended = window if is_log else None
            return is_log
        rows = self._rows(window, is_end=is_last or is_stop)
        run.check_finite(step, self._state)
        self._goodput.lap("step")
        if is_eval and config.eval_pairs and (is_stop or not self._evaluate(rows[-1])):
            # Repeated by the process that resumes, which then writes the row.
            resume_state.unevaluated, is_stop = rows[-1], True
        self._write(rows[:-1] if resume_state.unevaluated else rows)
        if is_save or is_stop:
            self._watchdog.beat(f"saving step {step}")
            logger.info("step %d: saving", step)
            evaluated = {name: n for name, n in rows[-1].items() if name.startswith("eval_")}
            run.save(
                step,
                self._state,
                fetched.data_state,
                resume_state,
                evaluated or None,
                self._writer.flush(),
            )
            self._goodput.lap("save")
            self._goodput.saved(step)
        if is_stop and (resume_state.unevaluated or not is_last):
            logger.warning("step %d: stopping as asked; the same command resumes here", step)
            raise Preempted
        return True

    def _log_ended(self) -> None:
        """Logs the window that ended with the step before."""
        if self._ended is not None:
            window, self._ended = self._ended, None
            self._write(self._rows(window, is_end=False))

    def _rows(self, window: Window, is_end: bool) -> list[dict[str, Any]]:
        """The window's rows, once its steps are done; says which records were left out."""
        rows = window.rows(self._config, self._resume_state, self._counts)
        self._counts = window.after
        self._drops.add(window, is_end)
        return rows

    def _evaluate(self, row: dict[str, Any]) -> bool:
        """Adds the evaluation to the row of its step; False where the run was asked to stop meanwhile."""

        def is_cut() -> bool:
            self._watchdog.beat(f"evaluation of step {row['step']}")
            return self._preemption.noticed()

        logger.info("step %d: evaluating", row["step"])
        run = self._run
        means = run.heldout.evaluate(
            self._state.params, self._evaluate_batch, run.objective, run.mesh, is_cut
        )
        self._goodput.lap("eval")
        if means is None:
            return False
        row |= means
        return True

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Writes the rows of steps that are done, and shows them."""
        for row in rows:
            row["speed/goodput"] = self._goodput.share
            # JSON has no NaN.
            self._writer.write(
                {name: n if math.isfinite(n or 0) else None for name, n in row.items()}
            )
            self._last |= row
        self._goodput.write_now_and_then()
        if rows:
            figures = {
                name: f"{self._last[name] or math.nan:.3f}"
                for name in ("loss", "accuracy")
                if name in self._last
            }
            self._bar.set_postfix(figures, refresh=False)
            self._bar.update(rows[-1]["step"] - self._bar.n)
