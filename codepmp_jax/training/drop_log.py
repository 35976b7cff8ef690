"""Which training records are left out, and what leaves rows empty, in the log: after the first steps, whenever it is
for a new reason, and at the end."""

from __future__ import annotations

from collections.abc import Mapping

from codepmp_jax.data import drops
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.item_kind import ItemKind
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.mixture import Mixture
from codepmp_jax.data.packing import describe_limits
from codepmp_jax.devices.gather import gather
from codepmp_jax.text.tokenization import REMARKS
from codepmp_jax.training.telemetry import logger
from codepmp_jax.training.window import Window

# Repeating data up to so often is nearly as good as new data (arXiv 2305.16264).
_MANY_EPOCHS = 4
# Lines with the words of a chat template; where it refuses many pairs, the counts say enough.
_MOST_LINES = 20


def log_epochs(mixture: Mixture, kind: ItemKind, num_records: float) -> None:
    """Says how often each source of a mixture is read in so many records, and warns where that is too often."""
    for name, size in mixture.sizes.items():
        share = mixture.shares[name]
        epochs = share * num_records / size
        logger.info(
            "mixture: %.2f %% of the %ss are of %s: %.2f times its %d",
            100 * share,
            kind.noun,
            name,
            epochs,
            size,
        )
        if epochs > _MANY_EPOCHS:
            logger.warning(
                "mixture: %s is read %.1f times; after %d times a %s teaches little that is new: lower its weight or "
                "num_epochs, or give it more %ss",
                name,
                epochs,
                _MANY_EPOCHS,
                kind.noun,
                kind.noun,
            )


class DropLog:
    """Writes these lines, on every host the same."""

    def __init__(self, layout: Layout, sizes: Mapping[str, int]):
        """`sizes` are how many records each source of a mixture has; empty without one."""
        self._layout = layout
        self._config = layout.config
        self._kind = layout.kind
        self._sizes = sizes
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
        limits = describe_limits(counts, self._layout)
        if limits and (is_end or self._lines is None):
            logger.warning("step %d: %s", step, limits)
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
            for name, size in self._sizes.items():
                read = counts[f"records/{name}"]
                logger.info(
                    "step %d: source %s: %d %ss read, %.2f times its %d; %d %s in rows, %d dropped",
                    step,
                    name,
                    read,
                    self._kind.noun,
                    read / size,
                    size,
                    counts[f"{self._kind.unit}/{name}"],
                    self._kind.unit,
                    counts[f"dropped/{name}"],
                )
        self._lines = self._lines or 0
        self._seen |= found
