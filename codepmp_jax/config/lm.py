"""Language modelling of documents, without pairs."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import PositiveInt
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.objective import ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class LmConfig(ObjectiveConfig):
    """loss = LM loss on documents: the mean of -log p(token) over their tokens but each one's first.

    data.input is a folder that `codepmp corpus` wrote, whose texts are the documents, or one of pairs.
    """

    objective: Literal["lm"] = "lm"
    """Name of the objective; a preset chooses it."""
    pair_texts: Literal["both", "chosen"] = "both"
    """Which texts of a pair are documents, where data.input holds pairs: each with its prompt, as training on pairs
    writes it. `both` trains on the tokens that PMP reads."""
    lm_chunk_tokens: PositiveInt = 1024
    """Tokens per chip whose logits are computed at once. Fewer take less memory, but reading the LM head then limits the
    speed."""

    @property
    def trains_rewards(self) -> bool:
        """As in ObjectiveConfig."""
        return False

    @property
    def method(self) -> str:
        """As in ObjectiveConfig."""
        return "language modelling of documents, without rewards"

    @property
    def summary(self) -> str:
        """As in ObjectiveConfig."""
        return "LM loss on every token"

    def require_batch(self, data: DataConfig, global_batch_rows: int) -> None:
        """A document has one text, without a prompt."""
        require(
            data.layout != "shared",
            "data.layout",
            data.layout,
            "must be packed or padded with the objective lm: a document shares no prefix with another text",
            "set it to packed",
        )
        require(
            data.response_window == "offsets",
            "data.response_window",
            data.response_window,
            "must be offsets with the objective lm: every token of a document but the first is a label",
            "leave it out",
        )
