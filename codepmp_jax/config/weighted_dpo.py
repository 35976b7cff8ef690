"""DPO with a weight for each token, from what the two responses of a pair differ in."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import NonNegativeFloat
from codepmp_jax.config.dpo import DpoConfig


@dataclasses.dataclass(frozen=True)
class WeightedDpoConfig(DpoConfig):
    """loss = that of DPO, of log-probs summed with a weight for each token."""

    objective: Literal["weighted_dpo"] = "weighted_dpo"
    """Name of the objective; a preset chooses it."""
    token_weights: Literal["edits", "target"] = "edits"
    """`edits`: changed_weight for tokens that differ between the two responses (Levenshtein), common_weight for the
    others, as in RLHF-V. `target`: of rejected only the tokens of lines outside the longest common subsequence of lines
    count, of chosen all, as in Target-DPO."""
    changed_weight: NonNegativeFloat = 5.0
    """Weight of a token that differs (edits only); RLHF-V takes 5."""
    common_weight: NonNegativeFloat = 1.0
    """Weight of a token that does not (edits only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.changed_weight + self.common_weight > 0,
            "loss.changed_weight",
            self.changed_weight,
            "must not be 0 together with loss.common_weight",
            "set one of the two above 0",
        )

    @property
    def sft_weight(self) -> float:
        """sft_coef, or its default: Target-DPO's 1."""
        if self.sft_coef is None and self.token_weights == "target":
            return 1.0
        return super().sft_weight

    @property
    def method(self) -> str:
        """As in ObjectiveConfig."""
        if self.token_weights == "target":
            return "DPO on the changed lines ([Target-DPO](https://arxiv.org/abs/2503.02783))"
        return "DPO with token weights from edits ([RLHF-V](https://arxiv.org/abs/2312.00849))"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        return (
            f"{self.loss_type} loss of log-ratios weighted by {self.token_weights}, beta {self.beta:g}, SFT term x "
            f"{self.sft_weight:g}"
        )
