"""Checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, NonNegativeInt, PositiveInt, Remedy


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config, section="checkpoint"):
    """When a run saves a checkpoint, and which ones it keeps: those that any of the `keep` settings selects."""

    every_steps: PositiveInt = 500
    """Steps between checkpoints. The last step is always saved."""
    keep: PositiveInt = 3
    """Number of newest checkpoints to keep."""
    keep_every_steps: PositiveInt | None = None
    """Keep the checkpoints of all steps divisible by this for good; a multiple of every_steps. By default
    none."""
    keep_spaced_from: PositiveInt | None = None
    """First step of a geometric series, each step 2^(1/4) = 1.189 times the one before. Its checkpoints are
    saved in addition and kept for good, as starting points for the decay of a WSD schedule (arXiv
    2410.02229). By default none."""
    keep_best: Annotated[NonNegativeInt, Remedy("0 keeps none")] = 0
    """Number of best checkpoints to keep, ranked by `best_metric`; 0 for none. Only checkpoints saved after a
    complete evaluation are ranked."""
    best_metric: str = "eval_accuracy"
    """Evaluation metric that ranks checkpoints: eval_accuracy, eval_pair_loss, eval_lm_loss, eval_accuracy/NAME of a
    source or subset, ..."""
    best_is: Literal["highest", "lowest"] = "highest"
    """Which value of `best_metric` is best."""
    fall_back: bool = False
    """If the newest checkpoint is damaged, rename it to STEP.damaged and resume from the one before. By
    default the run stops and names the damaged file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.keep_every_steps is None or self.keep_every_steps % self.every_steps == 0,
            "checkpoint.keep_every_steps",
            self.keep_every_steps,
            f"must be a multiple of checkpoint.every_steps ({self.every_steps}), else none is saved there",
            "pick a multiple",
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
