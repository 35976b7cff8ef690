"""Rewards of tokens, from the edits between the two responses of a pair (arXiv 2406.02756)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from codepmp_jax.config import TokenRewardConfig, TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.edits import changed_tokens, pieces_of, responses
from codepmp_jax.data.tokenized_item import SIDES, Companion
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.training.objectives.objective import (
    Objective,
    Outputs,
    Term,
    Weights,
    mean_weights,
    sum_by_text,
)

_EDITED = "edited"


@dataclasses.dataclass(frozen=True)
class EditMarks:
    """Makes the companion of a pair's labels: 1 for those that the edits mark, 0 for the others."""

    tokenizer: str

    def __call__(self, record: Any, item: TokenizedPair) -> Float32[np.ndarray, " C"]:
        """Chosen's marks, then rejected's."""
        del record
        chosen, rejected = responses(item)
        pieces = pieces_of(self.tokenizer, chosen), pieces_of(self.tokenizer, rejected)
        return np.concatenate(changed_tokens(chosen, rejected, pieces)).astype(np.float32)


class TokenReward(Objective):
    """The score head on every response token; only edited tokens enter the loss."""

    label_sides = SIDES
    uses_lm_head = False

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, TokenRewardConfig)
        self.loss = config.loss
        self.companions = (Companion(_EDITED, "labels", EditMarks(config.data.tokenizer)),)

    def weights(self, batch: Batch) -> Weights:
        """Plain means over the pairs with edits on both sides, and over the edited tokens."""
        edited = batch.companions[_EDITED] > 0
        return Weights(mean_weights(_has_edits(batch)), mean_weights(batch.label_mask & edited))

    def terms(self, outputs: Outputs, weights: Weights) -> Sequence[Term]:
        """The loss; of the edited tokens, the share whose reward has the right sign; of the pairs, accuracy, margin and
        rewards of the responses."""
        batch = outputs.batch
        edited = batch.companions[_EDITED]
        rewards = outputs.token_rewards()
        signs = jnp.where(batch.label_texts % 2 == 0, 1.0, -1.0)
        of_labels = weights.labels * edited
        logistic = jnp.sum(of_labels * jax.nn.softplus(-signs * rewards))
        right = jnp.sum(of_labels * (signs * rewards > 0))
        sums, numbers = (
            outputs.sum_by_text(edited * one) for one in (rewards, jnp.ones_like(rewards))
        )
        chosen, rejected = jnp.moveaxis(sums / jnp.maximum(numbers, 1), -1, 0)
        of_pairs = weights.items * _has_edits(batch)
        margin = jnp.sum(of_pairs * jax.nn.softplus(-(chosen - rejected)))
        is_logistic = self.loss.loss_type == "logistic"
        whole, other = self.pair_rewards(outputs)
        return [
            Term("logistic_loss", "labels", logistic, 1.0 if is_logistic else None),
            Term("token_accuracy", "labels", right),
            Term(_EDITED, "labels", jnp.sum(of_labels)),
            Term("margin_loss", "pairs", margin, None if is_logistic else 1.0),
            Term("pairs_with_edits", "pairs", jnp.sum(of_pairs)),
            Term(
                "accuracy",
                "pairs",
                jnp.sum(of_pairs * ((whole > other) + 0.5 * (whole == other))),
            ),
        ]

    def figures(self, means: Any) -> dict[str, float]:
        """An evaluation's means over edited tokens, and over pairs with edits on both sides, as in training."""
        tokens, pairs = max(means[_EDITED], 1e-9), max(means["pairs_with_edits"], 1e-9)
        return {
            "logistic_loss": means["logistic_loss"] / tokens,
            "token_accuracy": means["token_accuracy"] / tokens,
            "margin_loss": means["margin_loss"] / pairs,
            "accuracy": means["accuracy"] / pairs,
        }

    def pair_rewards(self, outputs: Outputs) -> tuple[Float[Array, "B M"], Float[Array, "B M"]]:
        """Rewards of the responses: the mean, the last or the least of their tokens'."""
        rewards = outputs.token_rewards()
        if self.loss.sequence_reward == "last":
            return outputs.rewards()
        if self.loss.sequence_reward == "mean":
            sums, numbers = (outputs.sum_by_text(one) for one in (rewards, jnp.ones_like(rewards)))
            found = sums / jnp.maximum(numbers, 1)
        else:
            found = outputs.least_by_text(rewards)
        return found[..., 0], found[..., 1]


def _has_edits(batch: Batch) -> Any:
    """Whether a pair has edited tokens on both sides."""
    return (sum_by_text(batch, batch.companions[_EDITED]) > 0).all(axis=-1) & batch.item_mask
