"""The scorer of a backend."""

from __future__ import annotations

from codepmp_jax.config import ScoreConfig
from codepmp_jax.evaluation.scorers.scorer import Scorer


def load_scorer(config: ScoreConfig) -> Scorer:
    """The reward model `config.model` behind the scorer of `config.backend`, whose library alone is imported.

    Raises UserError where there is no reward model of that kind.
    """
    if config.backend == "torch":
        from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer

        return TorchScorer.load(config.model, config.scorer, config.texts)
    from codepmp_jax.evaluation.scorers.jax_scorer import JaxScorer

    return JaxScorer.load(config)
