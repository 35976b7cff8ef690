"""What the settings of the objectives share that train a policy on pairs by its log-probs."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    NonNegativeFloat,
    OnlyWith,
    PositiveFloat,
    PositiveInt,
    Remedy,
)
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.objective import ObjectiveConfig

LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "robust",
    "sigmoid_norm",
    "apo_zero",
    "apo_down",
    "simpo",
    "orpo",
]
_SMOOTHED = ("sigmoid", "robust", "sigmoid_norm", "simpo")
# Losses that are of the mean token by their definition.
_ALWAYS_NORMALIZED = ("sigmoid_norm", "simpo", "orpo")


@dataclasses.dataclass(frozen=True)
class PolicyConfig(ObjectiveConfig):
    """Base of DpoConfig and its relatives: a loss of log p_policy(y) - log p_reference(y) of chosen and rejected."""

    loss_type: LossType = "sigmoid"
    """Loss of a pair, by TRL's names. `sigmoid`: DPO; with label_smoothing cDPO. `hinge`: SLiC. `ipo`. `robust`: needs
    label_smoothing. `sigmoid_norm`: sigmoid of log-ratios divided by the number of tokens. `apo_zero`, `apo_down`.
    `simpo`, `orpo`: without a reference."""
    beta: PositiveFloat = 0.1
    """Strength of the tie to the reference; in orpo the weight of the odds ratio (lambda). simpo takes 2 to 2.5."""
    label_smoothing: Annotated[
        float, Ge(0), Lt(0.5), OnlyWith("loss_type", _SMOOTHED), Remedy("0 turns it off")
    ] = 0.0
    """Assumed share of pairs whose two texts are the wrong way round (sigmoid, robust, sigmoid_norm, simpo)."""
    length_normalization: bool | None = None
    """Whether the log-probs of a response are divided by its number of tokens in the loss. By default as TRL has it: in
    ipo, sigmoid_norm, simpo and orpo, which but for ipo cannot do without."""
    simpo_gamma: Annotated[NonNegativeFloat, OnlyWith("loss_type", ("simpo",))] = 0.5
    """Margin that simpo asks of chosen over rejected."""
    sft_coef: Annotated[NonNegativeFloat, Remedy("0 turns it off")] | None = None
    """Weight of the SFT term, the token mean of -log p on the chosen responses (rpo_alpha in TRL); 0 turns it off. By
    default 1 in orpo, which trains without an SFT model, and 0 elsewhere."""
    reference_free: bool = False
    """Take the reference for uniform: its log-probs are 0 (always so in simpo and orpo)."""
    lm_chunk_tokens: PositiveInt = 1024
    """Tokens per chip whose logits are computed at once. Fewer take less memory, but reading the LM head then limits the
    speed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.label_smoothing == 0 or self.loss_type in _SMOOTHED,
            "loss.label_smoothing",
            self.label_smoothing,
            f"must be 0 with the loss {self.loss_type}, which has no smoothed form here",
            f"leave it out, or set loss.loss_type to one of {', '.join(_SMOOTHED)}",
        )
        require(
            self.loss_type != "robust" or self.label_smoothing > 0,
            "loss.label_smoothing",
            self.label_smoothing,
            "must not be 0 with the loss robust, which then is sigmoid",
            "give the share of wrong pairs, e.g. 0.1, or set loss.loss_type to sigmoid",
        )
        require(
            self.length_normalization is not False or self.loss_type not in _ALWAYS_NORMALIZED,
            "loss.length_normalization",
            self.length_normalization,
            f"must not be off with the loss {self.loss_type}, which is of the mean token",
            "leave it out",
        )

    @property
    def normalizes_length(self) -> bool:
        """Whether the loss is of the mean token's log-prob."""
        if self.length_normalization is not None:
            return self.length_normalization
        return self.loss_type in (*_ALWAYS_NORMALIZED, "ipo")

    @property
    def sft_weight(self) -> float:
        """sft_coef, or its default."""
        if self.sft_coef is not None:
            return self.sft_coef
        return 1.0 if self.loss_type == "orpo" else 0.0

    @property
    def needs_reference(self) -> bool:
        """Whether the loss depends on a reference model."""
        return not self.reference_free and self.loss_type not in ("simpo", "orpo")

    @property
    def trains_rewards(self) -> bool:
        """As in ObjectiveConfig: the policy's rewards are log-ratios, and not the score head's."""
        return False

    def require_batch(self, data: DataConfig, global_batch_rows: int) -> None:
        """The responses are found by their offsets."""
        super().require_batch(data, global_batch_rows)
        require(
            data.response_window == "offsets",
            "data.response_window",
            data.response_window,
            f"must be offsets with the objective {self.objective}: the paper's window counts tokens of the prompt where a "
            "text is cut",
            "leave it out",
        )
