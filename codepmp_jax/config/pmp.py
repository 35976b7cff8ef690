"""Preference model pretraining, and RM finetuning as its case without the LM loss."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import require_positive
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.objective import ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class PmpConfig(ObjectiveConfig):
    """loss = rm_coef * pair loss + lm_coef * LM loss + centering_coef * reward centring."""

    objective: Literal["pmp"] = "pmp"
    """The objective; a preset chooses it."""
    rm_coef: float = 1.0
    """Weight of the pair loss."""
    lm_coef: float = 1.0
    """Weight of the LM loss on the chosen responses; 0 for RM finetuning."""
    centering_coef: float = 0.0
    """Weight of mean((r_chosen + r_rejected)^2), which keeps rewards near 0."""
    lm_reduction: Literal["token_mean", "micro_batch_mean"] = "token_mean"
    """Mean over all response tokens of the global batch, or the paper's mean of the means of
    lm_micro_batch_pairs consecutive pairs (layout `padded` only)."""
    lm_micro_batch_pairs: int = 4
    """Pairs in one of the paper's micro batches (micro_batch_mean only)."""
    lm_chunk_tokens: int = 1024
    """Tokens of a chip whose logits exist at a time; with fewer, reading the LM head keeps it waiting."""

    def __post_init__(self) -> None:
        require_positive("loss.", self, "lm_micro_batch_pairs", "lm_chunk_tokens")
        for name in ("rm_coef", "lm_coef", "centering_coef"):
            value = getattr(self, name)
            require(value >= 0, f"loss.{name}", value, "must not be negative", "0 turns it off")
        require(
            self.rm_coef + self.lm_coef > 0,
            "loss.rm_coef",
            self.rm_coef,
            "must not be 0 together with loss.lm_coef",
            "set one of the two above 0",
        )

    @property
    def trains_rewards(self) -> bool:
        """As in ObjectiveConfig."""
        return self.rm_coef > 0

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        return f"pair loss x {self.rm_coef:g} + LM loss x {self.lm_coef:g}"

    def require_batch(self, data: DataConfig, global_batch_rows: int) -> None:
        """The paper's micro batches are of padded rows, and divide the batch."""
        if self.lm_reduction != "micro_batch_mean":
            return
        require(
            not data.packs,
            "loss.lm_reduction",
            self.lm_reduction,
            f"must be token_mean with data.layout {data.layout}: micro batches are of padded rows",
            "set data.layout to padded",
        )
        require(
            global_batch_rows % self.lm_micro_batch_pairs == 0,
            "loss.lm_micro_batch_pairs",
            self.lm_micro_batch_pairs,
            f"must divide global_batch_rows ({global_batch_rows})",
            "pick a divisor; the paper uses 4",
        )
