"""Token rewards from the edits between the two responses of a pair."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.objective import ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class TokenRewardConfig(ObjectiveConfig):
    """loss of the score head on response tokens: high where chosen's tokens are edits, low where rejected's are (arXiv
    2406.02756)."""

    objective: Literal["token_reward"] = "token_reward"
    """Name of the objective; a preset chooses it."""
    loss_type: Literal["logistic", "margin"] = "logistic"
    """`logistic`: -log sigmoid(r) of chosen's edited tokens and -log sigmoid(-r) of rejected's, each token alike.
    `margin`: -log sigmoid(mean r of chosen's edited tokens - mean r of rejected's), each pair alike. The paper leaves
    the loss open; both are ours."""
    sequence_reward: Literal["mean", "last", "least"] = "mean"
    """What of the tokens' rewards is the reward of a response, in metrics and evaluations."""

    @property
    def trains_rewards(self) -> bool:
        """As in ObjectiveConfig."""
        return True

    @property
    def method(self) -> str:
        """As in ObjectiveConfig."""
        return "token rewards from edits ([fine-grained supervision](https://arxiv.org/abs/2406.02756))"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        return f"{self.loss_type} loss of the rewards of edited tokens"
