"""What the objectives share that train a policy on pairs by its log-probs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.config.policy import PolicyConfig
from codepmp_jax.conversion.weights_digest import weights_digest
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.pairs import POLICY_PAIRS
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.files import storage
from codepmp_jax.training.objectives.objective import (
    Objective,
    Outputs,
    Term,
    Weights,
    mean_weights,
)
from codepmp_jax.training.objectives.policy_losses import policy_losses


class LogProbs(NamedTuple):
    """Of chosen and rejected of each pair; where there is no pair, numbers at which every loss is finite."""

    policy: Float[Array, "B M 2"]
    """log p, summed over the response's tokens."""
    reference: Float[Array, "B M 2"]
    lengths: Float[Array, "B M 2"]
    """Number of the response's tokens."""


class Policy(Objective):
    """loss = mean over pairs of policy_losses + sft_coef * SFT term. A subclass says what the reference is."""

    kind = POLICY_PAIRS
    label_sides = SIDES
    uses_score_head = False

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, PolicyConfig)
        self.loss = config.loss
        self.lm_chunk_tokens = config.loss.lm_chunk_tokens

    def reference(self, outputs: Outputs) -> Float[Array, "B M 2"]:
        """log p of the reference for chosen and rejected."""
        raise NotImplementedError

    def log_probs(self, outputs: Outputs) -> LogProbs:
        """What the loss is a function of."""
        is_pair = outputs.batch.item_mask[..., None]
        sums = outputs.sum_by_text(outputs.log_probs)
        lengths = outputs.sum_by_text(jnp.ones_like(outputs.log_probs))
        reference = self.reference(outputs) if self.loss.needs_reference else jnp.zeros_like(sums)
        return LogProbs(jnp.where(is_pair, sums, -1.0), reference, jnp.where(is_pair, lengths, 1.0))

    def pair_losses(self, outputs: Outputs, found: LogProbs) -> Float[Array, "B M"]:
        """The loss of each pair; anything finite where there is none."""
        del outputs
        return policy_losses(self.loss, *found)

    def weights(self, batch: Batch) -> Weights:
        """Plain means over the pairs, and for the SFT term over chosen's labels."""
        return Weights(
            mean_weights(batch.item_mask), mean_weights(batch.label_mask & _is_chosen(batch))
        )

    def terms(self, outputs: Outputs, weights: Weights) -> Sequence[Term]:
        """The loss of the pairs; the SFT term only with a coefficient; TRL's metrics, of which rewards are beta times
        the summed log-ratios whatever the loss."""
        found = self.log_probs(outputs)
        chosen, rejected = self._rewards(found)
        of_pairs = [
            (f"{self.loss.objective}_loss", self.pair_losses(outputs, found), 1.0),
            ("rewards/chosen", chosen, None),
            ("rewards/rejected", rejected, None),
            ("rewards/accuracies", (chosen > rejected).astype(jnp.float32), None),
            ("rewards/margins", chosen - rejected, None),
            ("logps/chosen", found.policy[..., 0], None),
            ("logps/rejected", found.policy[..., 1], None),
        ]
        terms = [
            Term(name, "pairs", jnp.sum(weights.items * values), coefficient)
            for name, values, coefficient in of_pairs
        ]
        if self.loss.sft_weight > 0:
            of_labels = weights.labels * _is_chosen(outputs.batch)
            nll = jnp.where(outputs.batch.label_mask, -outputs.log_probs, 0)
            sft = Term("sft_loss", "labels", jnp.sum(of_labels * nll), self.loss.sft_weight)
            terms += [sft, Term(_CHOSEN_LABELS, "labels", jnp.sum(of_labels))]
        return terms

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The SFT term of an evaluation as a mean over chosen's labels, as in training."""
        if _CHOSEN_LABELS not in means:
            return {}
        return {"sft_loss": means["sft_loss"] / means[_CHOSEN_LABELS]}

    def pair_rewards(
        self, outputs: Outputs
    ) -> tuple[Float[Array, "B M"], Float[Array, "B M"]] | None:
        """The rewards that the policy implies: beta times the log-ratios."""
        return self._rewards(self.log_probs(outputs))

    def _rewards(self, found: LogProbs) -> tuple[Float[Array, "B M"], Float[Array, "B M"]]:
        rewards = self.loss.beta * (found.policy - found.reference)
        return rewards[..., 0], rewards[..., 1]


def require_weights(
    setting: str, folder: str, origin: Mapping[str, Any], config: TrainConfig
) -> None:
    """Raises UserError where log-probs are of other weights than those that the policy starts from, if these are there
    (a run that resumes does not need them)."""
    source = config.model.init_from
    if source is None or not storage.to_path(source).is_dir():
        return
    found = weights_digest(source)
    if found != origin["weights"]:
        raise UserError(
            f"{folder}: the log-probs are stale: weights was {origin['weights']!r}, is {found!r} in {source}, which the "
            "policy starts from. Remedy: compute them again (`codepmp logprobs`) with that model, or, where another "
            f"reference is meant, set {setting} off."
        )


# Share of the labels that are chosen's, 1 in training, which counts no others.
_CHOSEN_LABELS = "chosen_labels"


def _is_chosen(batch: Batch) -> Bool[Array, "B C"]:
    return batch.label_texts % 2 == 0
