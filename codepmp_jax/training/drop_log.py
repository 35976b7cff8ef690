"""Which training records are left out, in the log: after the first steps, whenever it is for a new reason, and at the
end."""

from __future__ import annotations

from codepmp_jax.checkpoint.checkpointer import gather
from codepmp_jax.config import DataConfig
from codepmp_jax.data import drops
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.item_kind import ItemKind
from codepmp_jax.text.tokenization import REMARKS
from codepmp_jax.training.telemetry import logger
from codepmp_jax.training.window import Window

# Lines with the words of a chat template; where it refuses many pairs, the counts say enough.
_MOST_LINES = 20


class DropLog:
    """Writes these lines, on every host the same."""

    def __init__(self, config: DataConfig, kind: ItemKind):
        self._config = config
        self._kind = kind
        self._seen: set[str] = set()
        self._lines: int | None = None
        """Lines so far with the words of the template; None before the first window."""

    def add(self, window: Window, is_end: bool) -> None:
        """Says what is new in a window whose rows are made, and everything at the end. All hosts must call it."""
        counts, step = window.after, window.steps[-1][0]
        if counts["refused"] > window.before["refused"]:
            refused = [one for _, _, fetched in window.steps for one in fetched.refused]
            everywhere = [Dropped(*one) for host in gather(refused) for one in host]
            if (self._lines or 0) < _MOST_LINES:
                logger.warning(
                    "step %d: left out, as the chat template or the tokenizer refuses: %s",
                    step,
                    drops.describe_refused(everywhere, self._kind.noun),
                )
            self._lines = (self._lines or 0) + 1
        found = {name for name in (*drops.DROP_REASONS, *REMARKS) if counts[name]}
        if is_end or self._lines is None or not found <= self._seen:
            logger.info(
                "step %d: %d training %ss read, %d%s in rows; %s",
                step,
                counts["records"],
                self._kind.noun,
                counts[self._kind.unit],
                "" if self._kind.unit == "pairs" else f" {self._kind.unit}",
                drops.describe(counts, self._config) or "none dropped",
            )
        self._lines = self._lines or 0
        self._seen |= found
