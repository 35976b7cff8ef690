"""Which training pairs are left out, in the log: after the first steps, whenever it is for a new reason, and at the end."""

from __future__ import annotations

from collections.abc import Mapping

from codepmp_jax.checkpoint.checkpointer import gather
from codepmp_jax.config import DataConfig
from codepmp_jax.data import drops
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.mixture import Mixture
from codepmp_jax.text.tokenization import REMARKS
from codepmp_jax.training.telemetry import logger
from codepmp_jax.training.window import Window

# Repeating data up to so often is nearly as good as new data (arXiv 2305.16264).
_MANY_EPOCHS = 4
# Lines with the words of a chat template; where it refuses many pairs, the counts say enough.
_MOST_LINES = 20


def log_epochs(mixture: Mixture, num_records: float) -> None:
    """Says how often each source of a mixture is read in so many records, and warns where that is too often."""
    for name, size in mixture.sizes.items():
        share = mixture.shares[name]
        epochs = share * num_records / size
        logger.info(
            "mixture: %.2f %% of the records are of %s: %.2f times its %d pairs",
            100 * share,
            name,
            epochs,
            size,
        )
        if epochs > _MANY_EPOCHS:
            logger.warning(
                "mixture: %s is read %.1f times; after %d times a pair teaches little that is new: lower its weight or "
                "num_epochs, or give it more pairs",
                name,
                epochs,
                _MANY_EPOCHS,
            )


class DropLog:
    """Writes these lines, on every host the same."""

    def __init__(self, config: DataConfig, sizes: Mapping[str, int]):
        """`sizes` are how many records each source of a mixture has; empty without one."""
        self._config = config
        self._sizes = sizes
        self._seen: set[str] = set()
        self._lines: int | None = None
        """Lines so far with the words of the template; None before the first window."""

    def add(self, window: Window, is_end: bool) -> None:
        """Says what is new in a window whose rows are made, and everything at the end. All hosts must call it."""
        counts, step = window.after, window.steps[-1][0]
        if counts["refused"] > window.before["refused"]:
            refused = [pair for _, _, fetched in window.steps for pair in fetched.refused]
            everywhere = [Dropped(*pair) for host in gather(refused) for pair in host]
            if (self._lines or 0) < _MOST_LINES:
                logger.warning(
                    "step %d: left out, as the chat template or the tokenizer refuses: %s",
                    step,
                    drops.describe_refused(everywhere),
                )
            self._lines = (self._lines or 0) + 1
        found = {name for name in (*drops.DROP_REASONS, *REMARKS) if counts[name]}
        if is_end or self._lines is None or not found <= self._seen:
            logger.info(
                "step %d: %d training pairs read, %d in rows; %s",
                step,
                counts["records"],
                counts["pairs"],
                drops.describe(counts, self._config) or "none dropped",
            )
            for name, size in self._sizes.items():
                in_rows, dropped = counts[f"pairs/{name}"], counts[f"dropped/{name}"]
                logger.info(
                    "step %d: source %s: %d pairs read, %.2f times its %d; %d in rows, %d dropped",
                    step,
                    name,
                    in_rows + dropped,
                    (in_rows + dropped) / size,
                    size,
                    in_rows,
                    dropped,
                )
        self._lines = self._lines or 0
        self._seen |= found
