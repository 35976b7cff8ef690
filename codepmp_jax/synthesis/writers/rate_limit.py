"""When a server that limits its rate gets its next request.

A server that refuses a request for its rate or quota gets none for a while: as long as it asks for, else 1 s, 2 s, 4 s
and so on up to 60 s. Then it gets one request at a time, until it answers one. It is given up once it has answered
nothing for `max_wait` seconds, or would not before they are over.
"""

from __future__ import annotations

import dataclasses
import email.utils
import math
import random
import time
from collections.abc import Mapping

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# Share of a pause by which it varies, so that the workers of a server do not all come back at once.
_JITTER = 0.25


class LimitedError(Exception):
    """The server takes no request for a while, for its rate or quota; nothing is said of the request."""

    def __init__(self, message: str, seconds: float | None = None):
        """`seconds` is how long the server asks to wait; None where it does not say."""
        super().__init__(message)
        self.seconds = seconds


@dataclasses.dataclass
class RateLimit:
    """The state of one server. Times are those of time.monotonic."""

    num_pauses: int = 0
    """Pauses since its last answer."""
    until: float = 0.0
    """End of the last pause."""
    since: float = 0.0
    """When it began to refuse."""
    is_probing: bool = False
    """Whether the one request that it gets after a pause is on its way."""

    def delay(self) -> float:
        """Seconds until the server may get a request; infinite until its answer to another one is there."""
        if not self.num_pauses:
            return 0.0
        return math.inf if self.is_probing else max(0.0, self.until - time.monotonic())

    def take(self) -> float:
        """Counts a request that is sent; returns the time of sending, which `answered` and `refused` need."""
        self.is_probing = self.num_pauses > 0
        return time.monotonic()

    def ended(self, sent: float, is_answer: bool) -> None:
        """Counts the end of a request that was not refused for the rate."""
        if sent >= self.until:
            self.is_probing = False
            if is_answer:
                self.num_pauses = 0

    def refused(self, sent: float, seconds: float | None, max_wait: float) -> float | None:
        """Counts a refusal; the seconds of the pause that it begins. Zero where the request was sent before the last
        pause, and None where waiting would take longer than `max_wait` in all."""
        if sent < self.until:
            return 0.0
        now = time.monotonic()
        self.since = self.since if self.num_pauses else now
        self.is_probing = False
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.num_pauses, 10), _LONGEST_PAUSE)
        pause = pause * (1 + _JITTER * random.random()) if seconds is None else max(seconds, 0.01)
        if now + pause - self.since > max_wait:
            return None
        self.num_pauses += 1
        self.until = now + pause
        return pause


def seconds_asked(headers: Mapping[str, str]) -> float | None:
    """How long a response's `Retry-After`, in seconds or as a date, asks to wait; None where it is not there."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        written = headers.get(name, "")
        try:
            seconds = float(written) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
