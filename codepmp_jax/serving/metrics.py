"""What `/metrics` shows, in Prometheus's format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "codepmp_requests",
            "Requests, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "codepmp_request_seconds",
            "Seconds from a request's first byte to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.texts = Counter("codepmp_texts", "Texts scored.", registry=registry)
        self.tokens = Counter("codepmp_tokens", "Tokens of the texts scored.", registry=registry)
        self.cut = Counter(
            "codepmp_cut_texts", "Texts longer than the model's length.", registry=registry
        )
        self.queued = Gauge(
            "codepmp_queued_texts", "Texts that wait to be scored.", registry=registry
        )
        self.together = Histogram(
            "codepmp_texts_together",
            "Texts of all requests that were scored together.",
            buckets=_SIZES,
            registry=registry,
        )
        self.restarts = Counter(
            "codepmp_worker_restarts",
            "Times that the process which holds the model was started again.",
            registry=registry,
        )

    def text(self) -> bytes:
        """The present values."""
        return generate_latest(self._registry)
