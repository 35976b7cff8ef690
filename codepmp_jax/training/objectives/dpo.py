"""Direct preference optimization (arXiv 2305.18290) and the losses of its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array, Float

from codepmp_jax.cli.errors import require
from codepmp_jax.config import DataConfig, DpoConfig, TrainConfig
from codepmp_jax.data.log_probs import ReferenceSums, require_origin
from codepmp_jax.data.tokenized_item import Companion
from codepmp_jax.records.log_probs import ORIGIN
from codepmp_jax.training.objectives.objective import Outputs
from codepmp_jax.training.objectives.policy import Policy, require_weights

REFERENCE = "reference"
"""The companion of the reference's log-probs."""


class Dpo(Policy):
    """The family's losses with one reference, whose log-probs were computed before (`codepmp logprobs`)."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, DpoConfig)
        self.dpo = config.loss
        if config.loss.needs_reference:
            sums = ReferenceSums(config.loss.reference)
            self.companions = (Companion(REFERENCE, "pairs", sums, shape=(2,)),)

    def open_data(
        self, data: DataConfig, shards: Sequence[str], tokenizer: Mapping[str, str]
    ) -> Any:
        """The reference's log-probs are of these pairs."""
        if not self.dpo.needs_reference:
            return None
        folder = self.dpo.reference
        require(
            folder != "",
            "loss.reference",
            folder,
            "must be given: the loss compares the policy with a reference",
            "compute the reference's log-probs (`codepmp logprobs --model MODEL --input PAIRS --output DIR`) and give "
            "that DIR, or set --loss.reference-free True",
        )
        origin = require_origin(folder, data, shards, tokenizer)[ORIGIN]
        if self.dpo.reference_is_start:
            require_weights("loss.reference_is_start", folder, origin, self.config)
        return origin

    def reference(self, outputs: Outputs) -> Float[Array, "B M 2"]:
        """As in Policy."""
        return outputs.batch.companions[REFERENCE]
