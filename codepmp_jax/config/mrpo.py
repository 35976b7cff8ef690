"""Preference optimization with several references."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Remedy, StorePath
from codepmp_jax.config.policy import PolicyConfig


@dataclasses.dataclass(frozen=True)
class MrpoConfig(PolicyConfig):
    """loss = that of DPO with a virtual reference in the place of the reference: the weighted harmonic mean of what
    several references give to a response (arXiv 2405.16388)."""

    objective: Literal["mrpo"] = "mrpo"
    """Name of the objective; a preset chooses it."""
    references: tuple[StorePath, ...] = ()
    """Folders of the references' log-probs (`codepmp logprobs`) for these pairs. The first is the primary one, the model
    that the policy starts from; the others may have other tokenizers."""
    combination: Literal["virtual", "multi_dpo"] = "virtual"
    """`virtual`: MRPO. `multi_dpo`: its baseline, the weighted mean of the DPO losses with each reference."""
    weights: Literal["own", "released", "equal"] = "own"
    """Weight of each reference for a pair. `own`: its |log p(chosen) - log p(rejected)|, divided by their sum over the
    references. `released`: as the authors' code has it, for two references: the other's weight goes to the primary one,
    and the reverse (it looks swapped). `equal`."""
    trust_region: Annotated[float, Ge(0), Lt(1), Remedy("the paper takes 0.1")] | None = 0.1
    """How far the other references may be from the primary one, as a share of its log-prob of a response, which is dealt
    between chosen and rejected; 0 leaves the primary one alone, None all as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.needs_reference,
            "loss.loss_type",
            self.loss_type,
            "must have a reference with the objective mrpo",
            "set it to sigmoid, or train with the objective dpo",
        )
        require(
            self.weights != "released" or len(self.references) in (0, 2),
            "loss.weights",
            self.weights,
            "must not be released but with two references, which the authors' code has",
            "set it to own",
        )

    @property
    def method(self) -> str:
        """As in ObjectiveConfig."""
        return "multi-reference preference optimization ([MRPO](https://arxiv.org/abs/2405.16388))"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        how = "a virtual reference" if self.combination == "virtual" else "each reference"
        return (
            f"{self.loss_type} loss of log-ratios to {how} of {len(self.references)}, beta {self.beta:g}, weights "
            f"{self.weights}"
        )
