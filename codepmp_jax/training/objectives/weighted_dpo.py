"""DPO with a weight for each token: RLHF-V's (arXiv 2312.00849) and Target-DPO's (2503.02783)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from codepmp_jax.config import TrainConfig, WeightedDpoConfig
from codepmp_jax.data.edits import changed_lines, changed_tokens, pieces_of, responses
from codepmp_jax.data.log_probs import ReferenceTokens
from codepmp_jax.data.tokenized_item import Companion
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.training.objectives.dpo import REFERENCE, Dpo
from codepmp_jax.training.objectives.objective import Outputs
from codepmp_jax.training.objectives.policy import LogProbs
from codepmp_jax.training.objectives.policy_losses import policy_losses

_WEIGHTS = "token_weights"


@dataclasses.dataclass(frozen=True)
class TokenWeights:
    """Makes the companion of a pair's labels: the weight of each."""

    loss: WeightedDpoConfig
    tokenizer: str

    def __call__(self, record: Any, item: TokenizedPair) -> Float32[np.ndarray, " C"]:
        """Chosen's weights, then rejected's."""
        del record
        texts = responses(item)
        pieces = pieces_of(self.tokenizer, texts[0]), pieces_of(self.tokenizer, texts[1])
        if self.loss.token_weights == "target":
            rejected = changed_lines(pieces)[1]
            return np.concatenate([np.ones(len(texts[0])), rejected]).astype(np.float32)
        changed = np.concatenate(changed_tokens(*texts, pieces))
        weights = np.where(changed, self.loss.changed_weight, self.loss.common_weight)
        return weights.astype(np.float32)


class WeightedDpo(Dpo):
    """The family's losses of log-probs that are summed with weights; metrics are of the plain sums."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        loss = config.loss
        assert isinstance(loss, WeightedDpoConfig)
        weights = TokenWeights(loss, config.data.tokenizer)
        self.companions = (Companion(_WEIGHTS, "labels", weights),)
        if loss.needs_reference:
            self.companions += (Companion(REFERENCE, "labels", ReferenceTokens(loss.reference)),)

    def reference(self, outputs: Outputs) -> Float[Array, "B M 2"]:
        """As in Policy."""
        return outputs.sum_by_text(outputs.batch.companions[REFERENCE])

    def pair_losses(self, outputs: Outputs, found: LogProbs) -> Float[Array, "B M"]:
        """Of the weighted sums; a response's length is the sum of its weights."""
        del found
        companions = outputs.batch.companions
        weights = companions[_WEIGHTS]
        policy = outputs.sum_by_text(weights * outputs.log_probs)
        lengths = outputs.sum_by_text(weights)
        reference = (
            outputs.sum_by_text(weights * companions[REFERENCE])
            if self.loss.needs_reference
            else jnp.zeros_like(policy)
        )
        # A text without weight, or without a pair, has length 0.
        return policy_losses(self.loss, policy, reference, jnp.maximum(lengths, 1e-6))
