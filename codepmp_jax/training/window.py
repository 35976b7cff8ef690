"""The steps between two lines of the log: their metrics as rows, and whether their numbers are sound."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import jax

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.devices.gather import gather
from codepmp_jax.files.json_files import write_json
from codepmp_jax.training import objectives, telemetry
from codepmp_jax.training.feed import FetchedBatch
from codepmp_jax.training.spikes import LossHistory
from codepmp_jax.training.telemetry import logger


@dataclasses.dataclass
class ResumeState:
    """What a run keeps from window to window and saves with its state and data."""

    losses: LossHistory = dataclasses.field(default_factory=LossHistory)
    bad_steps: int = 0
    """Steps skipped so far."""
    unevaluated: dict[str, Any] | None = None
    """The row of the last step, where its evaluation was cut off and is to be done again."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self) | {"losses": self.losses.to_json()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> ResumeState:
        """What `to_json` gave."""
        return ResumeState(LossHistory(value["losses"]), value["bad_steps"], value["unevaluated"])


def total_counts(counts: list[dict[str, int]]) -> list[dict[str, int]]:
    """The counts of all hosts together, of each of some steps."""
    hosts = gather(counts)
    return [
        {name: sum(host[i][name] for host in hosts) for name in counts[i]}
        for i in range(len(counts))
    ]


def write_bad_step(
    config: TrainConfig, row: dict[str, Any], window: range, record_ids: list[str]
) -> str:
    """Writes which records of all hosts the step of `row` trained on; the file. All hosts must call it."""
    ids = [name for host in gather(record_ids) for name in host]
    noun = objectives.build(config).kind.noun
    path = f"{config.workdir}/bad_steps/{row['step']:08d}.json"
    if telemetry.is_main_process():
        metrics = {name: repr(value) for name, value in row.items()}
        bad = {"metrics": metrics, "window": [window[0], window[-1]], f"{noun}_ids": ids}
        write_json(path, {"step": row["step"], **bad})
    return path


@dataclasses.dataclass
class Window:
    """The steps since the last line of the log, and how much work they were."""

    started: float = dataclasses.field(default_factory=time.perf_counter)
    """When the first of them began, and `ended` when the last was done, by time.perf_counter."""
    ended: float | None = None
    steps: list[tuple[int, Any, FetchedBatch]] = dataclasses.field(default_factory=list)
    before: dict[str, int] = dataclasses.field(default_factory=dict)
    """The data's counts of all hosts before the first of them, once `rows` is called; `after` those after the last."""
    after: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, step: int, metrics: Any, fetched: FetchedBatch) -> None:
        """Adds a step; `metrics` may still be on their way from the devices."""
        self.steps.append((step, metrics, fetched))

    def rows(
        self, config: TrainConfig, resume_state: ResumeState, before: dict[str, int]
    ) -> list[dict[str, Any]]:
        """The steps' metrics as rows of metrics.jsonl; waits for the devices. All hosts must call it.

        `before` are the data's counts of all hosts before the first step. What measures time is named `speed/...`.
        Raises UserError naming the window's steps where a loss or gradient is not finite, unless such steps are skipped
        and are not too many.
        """
        values = jax.device_get([metrics for _, metrics, _ in self.steps])
        self.ended = self.ended or time.perf_counter()
        self.before = before
        counts = total_counts([fetched.counts for _, _, fetched in self.steps])
        self.after = counts[-1]
        speeds = self._speeds(config)
        rows = []
        for (step, _, fetched), metrics, before, data in zip(
            self.steps, values, [self.before, *counts], counts, strict=False
        ):
            row: dict[str, Any] = {"step": step}
            row |= {name: float(value) for name, value in metrics.items()}
            for source in config.data.sources:
                name, in_rows = f"accuracy/{source.name}", f"pairs/{source.name}"
                if name in row:
                    num_pairs = data[in_rows] - before[in_rows]
                    row[name] = row[name] / num_pairs if num_pairs else None
            row |= {f"data_{name}": n for name, n in data.items()}
            row["fill"] = (data["tokens"] - before["tokens"]) / (
                data["padded_tokens"] - before["padded_tokens"]
            )
            if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
                row |= self._deviation(config, row, resume_state)
            else:
                self._bad(config, row, fetched, resume_state)
            if config.on_bad_step == "skip":
                row["bad_steps"] = resume_state.bad_steps
            rows.append(row | speeds)
        return rows

    def _speeds(self, config: TrainConfig) -> dict[str, float | None]:
        assert self.ended is not None
        seconds = self.ended - self.started
        done = {name: n - self.before[name] for name, n in self.after.items()}
        peak = telemetry.peak_flops()
        unit = objectives.build(config).kind.unit
        flops = objectives.useful_flops(
            config,
            tokens=done["useful_tokens"],
            keys=done["useful_keys"],
            labels=done["labels"],
            items=done[unit],
        )
        return {
            f"speed/{unit}_per_second": done[unit] / seconds,
            "speed/tokens_per_second": done["tokens"] / seconds,
            "speed/padded_tokens_per_second": done["padded_tokens"] / seconds,
            "speed/data_wait": sum(fetched.waited for _, _, fetched in self.steps) / seconds,
            "speed/mfu": None if peak is None else flops / seconds / peak,
        }

    def _deviation(
        self, config: TrainConfig, row: dict[str, Any], resume_state: ResumeState
    ) -> dict[str, float]:
        """`loss_deviation`: how far the row's loss is above the recent ones; a spike is logged."""
        deviation = resume_state.losses.deviation(row["loss"])
        resume_state.losses.add(row["loss"])
        if deviation is None:
            return {}
        if deviation > config.spike_deviations:
            logger.warning(
                "step %d: loss spike: %.4f is %.1f deviations above the median of the last steps",
                row["step"],
                row["loss"],
                deviation,
            )
        return {"loss_deviation": deviation}

    def _bad(
        self,
        config: TrainConfig,
        row: dict[str, Any],
        fetched: FetchedBatch,
        resume_state: ResumeState,
    ) -> None:
        """Writes down a step whose numbers are not finite, and counts it, or raises UserError."""
        step, window = row["step"], range(self.steps[0][0], self.steps[-1][0] + 1)
        path = write_bad_step(config, row, window, fetched.record_ids)
        noun = objectives.build(config).kind.noun
        said = (
            f"step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}: not finite, in the steps "
            f"{window[0]} to {window[-1]}; its {noun}s: {path}"
        )
        resume_state.bad_steps += 1
        if config.on_bad_step == "stop":
            raise UserError(
                f"{said}. Remedy: lower optimizer.learning_rate, look at the {noun}s of these steps, or resume "
                "from the newest checkpoint with --on-bad-step skip."
            )
        if resume_state.bad_steps > config.max_bad_steps:
            raise UserError(
                f"{said}. It is the bad step number {resume_state.bad_steps}, more than max_bad_steps "
                f"({config.max_bad_steps}). Remedy: lower optimizer.learning_rate, or look at the {noun}s."
            )
        logger.warning("%s; skipped, number %d of the run", said, resume_state.bad_steps)
