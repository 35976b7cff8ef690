"""Direct preference optimization (arXiv 2305.18290) and the losses of its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array, Float

from codepmp_jax.config import DataConfig, DpoConfig, TrainConfig
from codepmp_jax.data.log_probs import ReferenceSums, require_origin
from codepmp_jax.data.tokenized_item import Companion
from codepmp_jax.records.log_probs import ORIGIN
from codepmp_jax.training.objectives.objective import Outputs
from codepmp_jax.training.objectives.policy import Policy, require_reference, require_weights

_REFERENCE = "reference"


class Dpo(Policy):
    """The family's losses with one reference, whose log-probs were computed before (`codepmp logprobs`)."""

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, DpoConfig)
        self.folder, self.is_start = config.loss.reference, config.loss.reference_is_start
        if config.loss.needs_reference:
            self.companions = (
                Companion(_REFERENCE, "pairs", ReferenceSums(self.folder), shape=(2,)),
            )

    def open_data(
        self, data: DataConfig, shards: Sequence[str], tokenizer: Mapping[str, str]
    ) -> Any:
        """The reference's log-probs are of these pairs."""
        if not self.loss.needs_reference:
            return None
        require_reference("loss.reference", self.folder)
        origin = require_origin(self.folder, data, shards, tokenizer)[ORIGIN]
        if self.is_start:
            require_weights("loss.reference_is_start", self.folder, origin, self.config)
        return origin

    def reference(self, outputs: Outputs) -> Float[Array, "B M 2"]:
        """As in Policy."""
        return outputs.batch.companions[_REFERENCE]
