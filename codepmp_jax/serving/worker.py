"""The process that holds the model: rows in, rewards out.

It is a process of its own, so that requests are answered while the model computes, and so that one that is killed, e.g.
for its memory, takes no request with it: it is started again, and what it had not answered is scored by the next.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.config import ScoreConfig
from codepmp_jax.serving.texts import TextReader

_END_SECONDS = 10.0


class ScoringError(Exception):
    """The model failed on rows; the message says how."""


class Worker:
    """A reward model in a process of its own. One thread at a time may use it."""

    def __init__(self, config: ScoreConfig):
        """Starts the process and waits until it has loaded the model.

        Raises UserError where it cannot, and WorkerLostError where it is killed before.
        """
        self._config = config
        self._start()

    def _start(self) -> None:
        # A fork would have copies of the server's sockets, and of locks that its threads hold.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_run, args=(self._config, other), name="scorer")
        self._process.start()
        other.close()
        self.pid = self._process.pid
        kind, value = self._receive()
        if kind == "refused":
            self.close()
            raise value
        self.reader: TextReader
        self.facts: dict[str, Any]
        self.reader, self.facts = value

    def restart(self) -> None:
        """Starts the process again, after WorkerLostError. Raises as the constructor does."""
        self.close()
        self._start()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def rewards(self, rows: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
        """As `Scorer.rewards`. It must be read to its end.

        Raises ScoringError where the model fails, and WorkerLostError where the process is killed.
        """
        try:
            self._pipe.send_bytes(pickle.dumps([row.astype(np.int32) for row in rows]))
        except OSError as error:
            raise self._lost() from error
        while True:
            kind, value = self._receive()
            if kind == "end":
                return
            if kind == "failed":
                raise ScoringError(value)
            yield value

    def kill(self) -> None:
        """Ends the process at once. Any thread may call it."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> tuple[str, Any]:
        try:
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> WorkerLostError:
        self._process.join(_END_SECONDS)
        return WorkerLostError(
            f"the process that holds the model ended with status {self._process.exitcode} (-9: killed). Remedy: see "
            "whether its memory ran out (give fewer --scorer.batch-tokens, or more memory)."
        )


def _run(config: ScoreConfig, pipe: Connection) -> None:
    """The process: loads the model, then answers until the other end of the pipe is closed."""
    # Both are for the server, which answers what is under way and then closes the pipe.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send(kind: str, value: Any = None) -> None:
        pipe.send_bytes(pickle.dumps((kind, value)))

    try:
        from codepmp_jax.evaluation.scorers.load import load_scorer

        scorer = load_scorer(config)
    except UserError as error:
        send("refused", error)
        return
    try:
        reader = TextReader(scorer.tokenizer, scorer.form, scorer.vocab_size)
        send("ready", (reader, scorer.facts))
        while True:
            rows = pickle.loads(pipe.recv_bytes())
            try:
                for indices, values in scorer.rewards(rows):
                    send("rewards", (indices, np.asarray(values, np.float32)))
            except (EOFError, OSError):
                raise
            except Exception as error:  # of a library or a device
                send("failed", f"{type(error).__name__}: {error}")
            else:
                send("end")
    except (EOFError, OSError):
        return
