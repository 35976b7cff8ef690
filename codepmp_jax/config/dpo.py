"""Direct preference optimization and the losses of its family."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import StorePath
from codepmp_jax.config.policy import PolicyConfig


@dataclasses.dataclass(frozen=True)
class DpoConfig(PolicyConfig):
    """loss = mean over pairs of the loss loss_type, of the log-ratios of policy and reference, + sft_coef * SFT term."""

    objective: Literal["dpo"] = "dpo"
    """Name of the objective; a preset chooses it."""
    reference: StorePath = ""
    """Folder of the reference's log-probs, as `codepmp logprobs` wrote it for these pairs."""
    reference_is_start: bool = True
    """Whether the reference is the model that the policy starts from (model.init_from): log-probs of other weights are
    then refused. Turn it off for any other reference."""

    @property
    def method(self) -> str:
        """As in ObjectiveConfig."""
        return "direct preference optimization ([DPO](https://arxiv.org/abs/2305.18290))"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        sft = f" + SFT term x {self.sft_weight:g}" if self.sft_weight else ""
        return f"{self.loss_type} loss of log-ratios, beta {self.beta:g}{sft}"
