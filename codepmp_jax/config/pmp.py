"""Preference model pretraining, and RM finetuning as its case without the LM loss."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import NonNegativeFloat, PositiveInt, Remedy
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.objective import ObjectiveConfig

Coefficient = Annotated[NonNegativeFloat, Remedy("0 turns it off")]


@dataclasses.dataclass(frozen=True)
class PmpConfig(ObjectiveConfig):
    """loss = rm_coef * pair loss + lm_coef * LM loss + centering_coef * reward centring."""

    objective: Literal["pmp"] = "pmp"
    """Name of the objective; a preset chooses it."""
    rm_coef: Coefficient = 1.0
    """Weight of the pair loss; 0 turns it off."""
    lm_coef: Coefficient = 1.0
    """Weight of the LM loss on the chosen responses; 0 for RM finetuning."""
    centering_coef: Coefficient = 0.0
    """Weight of mean((r_chosen + r_rejected)^2), which keeps rewards near 0; 0 turns it off."""
    lm_reduction: Literal["token_mean", "micro_batch_mean"] = "token_mean"
    """How the LM loss is averaged. `token_mean`: over all response tokens of the global batch.
    `micro_batch_mean`: as in the paper, the mean of the means over lm_micro_batch_pairs consecutive pairs (layout
    `padded` only)."""
    lm_micro_batch_pairs: PositiveInt = 4
    """Pairs per micro batch of the paper (micro_batch_mean only)."""
    lm_chunk_tokens: PositiveInt = 1024
    """Tokens per chip whose logits are computed at once. Fewer take less memory, but reading the LM head then limits the
    speed."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
    def method(self) -> str:
        """As in ObjectiveConfig."""
        return "preference model pretraining ([CodePMP](https://arxiv.org/abs/2410.02229))"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        return f"pair loss x {self.rm_coef:g} + LM loss x {self.lm_coef:g}"

    def require_batch(self, data: DataConfig, global_batch_rows: int) -> None:
        """The paper's micro batches are of padded rows, and divide the batch."""
        super().require_batch(data, global_batch_rows)
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
