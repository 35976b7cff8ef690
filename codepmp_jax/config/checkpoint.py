"""Checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config):
    """When a run saves, and what it keeps: whatever one of the `keep` settings asks for."""

    every_steps: int = 500
    """Steps between checkpoints; the last step always has one."""
    keep: int = 3
    """Newest checkpoints kept."""
    keep_every_steps: int | None = None
    """Checkpoints of the steps divisible by this are kept for good."""
    keep_spaced_from: int | None = None
    """First step of a series, each 2^(1/4) = 1.189 times the one before, at which checkpoints are saved too and
    kept for good: starting points for decays of a WSD schedule (arXiv 2410.02229)."""
    keep_best: int = 0
    """Best checkpoints kept, by `best_metric`; those saved after a step with an evaluation take part. One whose
    evaluation a preemption cut off does not, since it was saved without figures."""
    best_metric: str = "eval_accuracy"
    """A figure of the evaluation: eval_accuracy, eval_pair_loss, eval_lm_loss, ..."""
    best_is: Literal["highest", "lowest"] = "highest"
    """Which value of `best_metric` is best."""
    fall_back: bool = False
    """Where the newest checkpoint is damaged, move it to STEP.damaged and go on from the one before; without
    this the run stops and names the file."""

    def __post_init__(self) -> None:
        require_positive("checkpoint.", self, "every_steps", "keep")
        for name in ("keep_every_steps", "keep_spaced_from"):
            value = getattr(self, name)
            require(
                value is None or value > 0,
                f"checkpoint.{name}",
                value,
                "must be positive",
                "leave it out to keep none",
            )
        require(
            self.keep_every_steps is None or self.keep_every_steps % self.every_steps == 0,
            "checkpoint.keep_every_steps",
            self.keep_every_steps,
            f"must be a multiple of checkpoint.every_steps ({self.every_steps}), else none is saved there",
            "pick a multiple",
        )
        require(
            self.keep_best >= 0,
            "checkpoint.keep_best",
            self.keep_best,
            "must not be negative",
            "0 keeps none",
        )

    def spaced_steps(self, limit: int = 2**40) -> list[int]:
        """The steps of the series from keep_spaced_from up to `limit`."""
        steps: list[int] = []
        while self.keep_spaced_from is not None:
            step = round(self.keep_spaced_from * 2 ** (len(steps) / 4))
            if step > limit:
                break
            steps.append(step)
        return sorted(set(steps))
