"""`codepmp serve`: loads the model, listens, and after SIGTERM answers what is under way."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import signal
import socket
from collections.abc import Iterator

from codepmp_jax.cli.errors import StoreError, UserError, require
from codepmp_jax.config import ScoreConfig, ServeConfig
from codepmp_jax.files import storage
from codepmp_jax.serving.batcher import Batcher
from codepmp_jax.serving.rewards import KEY
from codepmp_jax.serving.worker import Worker

logger = logging.getLogger("codepmp_jax")

_BACKLOG = 2048


def score_config(config: ServeConfig) -> ScoreConfig:
    """The settings of `evaluate score` that give the same scores."""
    require(config.model != "", "model", config.model, "must be given", "add --model FOLDER")
    backend = config.backend
    if backend == "auto":
        is_run = (
            storage.is_bucket(config.model) or (pathlib.Path(config.model) / "checkpoints").is_dir()
        )
        backend = "jax" if is_run else "torch"
    return ScoreConfig(
        model=config.model,
        backend=backend,
        step=config.step,
        texts=config.texts,
        scorer=config.scorer,
        mesh=config.mesh,
    )


def serve(config: ServeConfig) -> None:
    """Serves until SIGTERM or SIGINT, and then answers what is under way for at most limits.drain_seconds.

    Raises UserError where the model cannot be loaded or the address not be listened on, and where the process that
    holds the model is killed and does not start again.
    """
    try:
        import uvicorn

        from codepmp_jax.serving.app import make_app
        from codepmp_jax.serving.metrics import Metrics
    except ImportError as error:
        raise UserError(
            f"serve: a library cannot be imported ({error}). Remedy: pip install 'codepmp_jax[serve]'."
        ) from error
    scoring = score_config(config)
    key = os.environ.get(KEY, "")
    # A port that is taken is said before the model is loaded.
    bound = _bind(config.host, config.port)
    failures: list[UserError] = []
    with contextlib.closing(bound), contextlib.closing(Worker(scoring)) as worker:
        print(f"texts are written {worker.reader.form}")

        def fail(error: UserError) -> None:
            failures.append(error)
            server.should_exit = True

        metrics = Metrics()
        batcher = Batcher(
            worker, metrics, config.limits.queued_texts, config.gather_seconds, on_failure=fail
        )
        with contextlib.closing(batcher):
            app = make_app(
                config.model, worker.reader, batcher, metrics, config.limits, config.queries, key
            )
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    # Whatever else is installed: the tests' parser is this one.
                    http="h11",
                    log_level="warning",
                    backlog=_BACKLOG,
                    limit_concurrency=config.limits.connections,
                    timeout_graceful_shutdown=config.limits.drain_seconds,
                )
            )
            host, port = bound.getsockname()[:2]
            if not key and not host.startswith("127.") and host != "::1":
                logger.warning(
                    "%s: whoever reaches this address may use the model; set %s to ask for a key",
                    host,
                    KEY,
                )
            # Who reads the line below may connect at once.
            bound.listen(_BACKLOG)
            print(f"serving {config.model} on http://{host}:{port}", flush=True)
            with _graceful(server):
                server.run([bound])
    if failures:
        raise failures[0]


def _bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet: connections are refused until the model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StoreError(
            f"host:port = {host}:{port}: cannot be listened on ({error.strerror or error}). Remedy: give another --port, "
            "or an address of this machine."
        ) from error
    return bound


@contextlib.contextmanager
def _graceful(server: object) -> Iterator[None]:
    """Lets the first SIGTERM or SIGINT end the command with status 0: uvicorn raises it again when it has ended."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
