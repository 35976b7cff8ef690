"""Preference optimization with several references (arXiv 2405.16388)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from codepmp_jax.cli.errors import require
from codepmp_jax.config import DataConfig, MrpoConfig, TrainConfig
from codepmp_jax.data.log_probs import ReferenceSums, require_origin
from codepmp_jax.data.tokenized_item import Companion
from codepmp_jax.records.log_probs import ORIGIN
from codepmp_jax.training.objectives.objective import Outputs
from codepmp_jax.training.objectives.policy import LogProbs, Policy, require_weights
from codepmp_jax.training.objectives.policy_losses import policy_losses


class Mrpo(Policy):
    """The family's losses with a virtual reference, or the mean of those with each reference."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, MrpoConfig)
        self.mrpo = config.loss
        self.companions = tuple(
            # The others are cut by their own tokens.
            Companion(f"reference{i}", "pairs", ReferenceSums(folder, i > 0), shape=(2,))
            for i, folder in enumerate(config.loss.references)
        )

    def open_data(
        self, data: DataConfig, shards: Sequence[str], tokenizer: Mapping[str, str]
    ) -> Any:
        """All references' log-probs are of these pairs, and the first's of the model that the policy starts from."""
        folders = self.mrpo.references
        require(
            len(folders) > 0,
            "loss.references",
            folders,
            "must be given: folders of log-probs, the first those of the model that the policy starts from",
            "compute them (`codepmp logprobs --model MODEL --input PAIRS --output DIR`) and give DIR ...",
        )
        origins = [
            require_origin(folder, data, shards, tokenizer, own_tokenizer=i > 0)[ORIGIN]
            for i, folder in enumerate(folders)
        ]
        require_weights("loss.references", folders[0], origins[0], self.config)
        return origins

    def references(self, outputs: Outputs) -> Float[Array, "B M 2 K"]:
        """log p of each reference; where there is no pair, numbers at which all is finite."""
        found = jnp.stack([outputs.batch.companions[one.name] for one in self.companions], axis=-1)
        return jnp.where(outputs.batch.item_mask[..., None, None], found, -1.0)

    def reference(self, outputs: Outputs) -> Float[Array, "B M 2"]:
        """Of the virtual reference; as what rewards are measured from with multi_dpo too."""
        return virtual_reference(self.mrpo, self.references(outputs))

    def pair_losses(self, outputs: Outputs, found: LogProbs) -> Float[Array, "B M"]:
        """As in Policy."""
        if self.mrpo.combination == "virtual":
            return super().pair_losses(outputs, found)
        references = self.references(outputs)
        weights = reference_weights(self.mrpo, references)
        losses = jax.vmap(
            lambda reference: policy_losses(self.mrpo, found.policy, reference, found.lengths),
            in_axes=-1,
            out_axes=-1,
        )(references)
        return (weights * losses).sum(axis=-1)


def virtual_reference(
    config: MrpoConfig, references: Float[Array, "*N 2 K"]
) -> Float[Array, "*N 2"]:
    """log of the weighted harmonic mean of p_k(y): -logsumexp_k(log a_k - log p_k(y)), with the others than the first
    held within the trust region (arXiv 2405.16388, equations 9 and 12)."""
    weights = reference_weights(config, references)
    if config.trust_region is not None:
        references = clipped(references, config.trust_region)
    # A weight of 0 leaves its reference out.
    return -jax.nn.logsumexp(jnp.log(weights)[..., None, :] - references, axis=-1)


def reference_weights(
    config: MrpoConfig, references: Float[Array, "*N 2 K"]
) -> Float[Array, "*N K"]:
    """a_k of each pair, which sum to 1; equal ones where no reference tells chosen from rejected."""
    number = references.shape[-1]
    equal = jnp.full_like(references[..., 0, :], 1 / number)
    if config.weights == "equal":
        return equal
    margins = jnp.abs(references[..., 0, :] - references[..., 1, :])
    if config.weights == "released":
        margins = margins[..., ::-1]
    total = margins.sum(axis=-1, keepdims=True)
    return jnp.where(total > 0, margins / jnp.where(total > 0, total, 1), equal)


def clipped(references: Float[Array, "*N 2 K"], region: float) -> Float[Array, "*N 2 K"]:
    """All but the first reference within a share of the first's log-prob: `region` t for chosen and `region` (1 - t) for
    rejected, where t is chosen's share of the mean log-probs."""
    means = jnp.abs(references.mean(axis=-1))
    total = means.sum(axis=-1, keepdims=True)
    share = means[..., :1] / jnp.where(total > 0, total, 1)
    shares = jnp.concatenate([share, 1 - share], axis=-1)
    primary = references[..., :1]
    margin = region * shares[..., None] * jnp.abs(primary)
    others = jnp.clip(references[..., 1:], primary - margin, primary + margin)
    return jnp.concatenate([primary, others], axis=-1)
