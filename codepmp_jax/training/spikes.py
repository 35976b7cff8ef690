"""Loss spikes: losses far above what the last ones were."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Iterable

# Losses that a new one is compared with, and how few of them are enough.
_KEPT = 128
_MIN_HISTORY = 16
# The median absolute deviation of a normal distribution, in standard deviations.
_NORMAL_MAD = 0.6745


class LossHistory:
    """The last finite losses of a run."""

    def __init__(self, losses: Iterable[float] = ()):
        self._losses = collections.deque(losses, maxlen=_KEPT)

    def deviation(self, loss: float) -> float | None:
        """How far `loss` is above the median of the recent ones, in standard deviations.

        Robust: these are taken as the median absolute deviation / 0.6745, and of at least 0.1 % of the median, so
        that losses that hardly move make no spike of a small change. None where there are too few.
        """
        if len(self._losses) < _MIN_HISTORY:
            return None
        median = statistics.median(self._losses)
        mad = statistics.median(abs(other - median) for other in self._losses)
        return (loss - median) / max(mad / _NORMAL_MAD, 1e-3 * abs(median), 1e-12)

    def add(self, loss: float) -> None:
        """Adds a finite loss; the oldest goes."""
        self._losses.append(loss)

    def to_json(self) -> list[float]:
        """The losses, oldest first."""
        return list(self._losses)
