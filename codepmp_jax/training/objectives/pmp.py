"""Preference model pretraining: the pair loss and the LM loss on chosen (arXiv 2410.02229). Without the LM loss it is
RM finetuning."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from codepmp_jax.config import PmpConfig, TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.training.losses import (
    centering_losses,
    micro_batch_weights,
    pair_losses,
)
from codepmp_jax.training.objectives.objective import (
    Objective,
    Outputs,
    Term,
    Weights,
)


class Pmp(Objective):
    """loss = rm_coef * pair loss + lm_coef * LM loss + centering_coef * reward centring."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, PmpConfig)
        self.loss = config.loss
        self.uses_lm_head = self.loss.lm_coef > 0
        self.uses_score_head = self.loss.rm_coef > 0 or self.loss.centering_coef > 0

    def weights(self, batch: Batch) -> Weights:
        """Plain means, or the paper's mean of micro batches for the labels."""
        weights = super().weights(batch)
        if self.loss.lm_reduction == "token_mean":
            return weights
        of_labels = micro_batch_weights(batch.label_mask, self.loss.lm_micro_batch_pairs)
        return weights._replace(labels=of_labels)

    def terms(self, outputs: Outputs, weights: Weights) -> Sequence[Term]:
        """The losses, the LM loss only with a coefficient; accuracy, where equal rewards count one half; margin and
        rewards."""
        loss, margin = self.loss, outputs.batch.margin
        chosen, rejected = outputs.rewards()
        of_pairs = [
            ("pair_loss", pair_losses(chosen, rejected, margin), loss.rm_coef),
            ("accuracy", (chosen > rejected) + 0.5 * (chosen == rejected), None),
            ("margin", chosen - rejected, None),
            ("reward_chosen", chosen, None),
            ("reward_rejected", rejected, None),
        ]
        if loss.centering_coef > 0:
            of_pairs.append(
                ("centering_loss", centering_losses(chosen, rejected), loss.centering_coef)
            )
        terms = [
            Term(name, "pairs", jnp.sum(weights.items * values), coefficient)
            for name, values, coefficient in of_pairs
        ]
        if self.uses_lm_head:
            lm = outputs.lm_loss(weights.labels, loss.lm_chunk_tokens)
            terms.append(Term("lm_loss", "labels", lm, loss.lm_coef))
        return terms

    def pair_rewards(
        self, outputs: Outputs
    ) -> tuple[Float[Array, "B M"], Float[Array, "B M"]] | None:
        """Those of the score head, if it is trained."""
        return outputs.rewards() if self.uses_score_head else None
