"""A sampler for tests: fast, deterministic, and with every way to fail on a request."""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import time

from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.sampler import Sampler

RAISES, FAILS, FAILS_ONCE = "0", "1", "2"


def fate(key: str) -> str:
    """What becomes of a request: one of the constants for three in sixteen, else nothing special."""
    return hashlib.sha256(key.encode()).hexdigest()[0]


class Slow(Sampler):
    """Writes the hash of a request's key and prompt, in `seconds` each; some requests fail."""

    retries = True

    def __init__(self, log: pathlib.Path, seconds: float = 0.0):
        """`log` receives a line for each request: its key, and `+` where it was answered.

        It outlives the process: a request that fails once does so once in all.
        """
        self._log = log
        self._seconds = seconds
        self.is_closed = False

    def settings(self):
        return {"sampler": "slow"}

    def sample(self, requests):
        if any(fate(request.key) == RAISES for request in requests):
            raise RuntimeError("no words for this one")
        time.sleep(self._seconds * len(requests))
        asked = {line.split()[0] for line in lines(self._log)}
        completions = [self._complete(request, request.key in asked) for request in requests]
        written = "".join(f"{c.key} {'' if c.failure else '+'}\n" for c in completions)
        with open(self._log, "ab", buffering=0) as file:
            os.write(file.fileno(), written.encode())
        return completions

    def _complete(self, request, was_asked):
        digest = hashlib.sha256(f"{request.key} {request.prompt}".encode()).hexdigest()
        if fate(request.key) == FAILS or (fate(request.key) == FAILS_ONCE and not was_asked):
            return Completion(request.key, "", "refused by the server", "status 500")
        return Completion(request.key, digest, finish_reason="stop", num_tokens=7)

    def close(self):
        self.is_closed = True


def lines(log: pathlib.Path) -> list[str]:
    """Lines of a log; none where there is no log yet."""
    return log.read_text().splitlines() if log.exists() else []


def answered(log: pathlib.Path) -> collections.Counter[str]:
    """Keys of the requests that were answered, and how often."""
    return collections.Counter(line.split()[0] for line in lines(log) if line.endswith("+"))
