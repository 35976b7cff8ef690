"""Language modelling of plain documents: next-token prediction without pairs or rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from codepmp_jax.config import LmConfig, TrainConfig
from codepmp_jax.data.documents import Documents
from codepmp_jax.training.objectives.objective import Objective, Outputs, Term, Weights


class Lm(Objective):
    """loss = mean of -log p(token) over the tokens of the documents but each one's first."""

    uses_score_head = False

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        assert isinstance(config.loss, LmConfig)
        self.loss = config.loss
        self.kind = Documents(config.loss.pair_texts)

    def terms(self, outputs: Outputs, weights: Weights) -> Sequence[Term]:
        """The LM loss."""
        lm = outputs.lm_loss(weights.labels, self.loss.lm_chunk_tokens)
        return [Term("lm_loss", "labels", lm, 1.0)]

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """`lm_perplexity`, exp of the LM loss in nats a token."""
        return {"lm_perplexity": math.exp(min(means["lm_loss"], 700.0))}
