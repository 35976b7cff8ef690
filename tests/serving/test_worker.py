"""The process that holds the model, and what is said where it cannot be there."""

from __future__ import annotations

import os
import signal
import socket

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.config import DataConfig, LimitsConfig, ScoreConfig, ScorerConfig, ServeConfig
from codepmp_jax.evaluation.scorers.load import load_scorer
from codepmp_jax.serving.server import score_config, serve
from codepmp_jax.serving.worker import Worker
from tests.conversion.runs import write_run
from tests.evaluation.scorers.rewards import score
from tests.training.reference import tiny_config


@pytest.fixture
def run(tmp_path):
    folder = str(tmp_path / "run")
    write_run(tiny_config(workdir=folder, model__vocab_size=4096, data=DataConfig(max_length=64)))
    return folder


def test_a_run_is_served_by_jax_and_a_killed_worker_starts_again(run):
    config = score_config(ServeConfig(model=run, scorer=ScorerConfig(batch_tokens=64)))
    assert config.backend == "jax"
    generator = np.random.default_rng(0)
    rows = [generator.integers(2, 4096, size=n).astype(np.int32) for n in (3, 60, 17, 1, 40)]
    expected = score(load_scorer(config), rows)
    worker = Worker(config)
    try:
        assert worker.pid is not None
        assert worker.facts["step"] == 3
        np.testing.assert_array_equal(score(worker, rows), expected)
        # Signals to the whole group are for the server.
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
        np.testing.assert_array_equal(score(worker, rows[2:]), expected[2:])
        worker.kill()
        with pytest.raises(WorkerLostError, match="status -9"):
            score(worker, rows)
        assert not worker.is_alive
        worker.restart()
        np.testing.assert_array_equal(score(worker, rows[::-1]), expected[::-1])
    finally:
        worker.close()
    assert not worker.is_alive


def test_folders_are_served_by_torch(tmp_path):
    assert score_config(ServeConfig(model=str(tmp_path))).backend == "torch"
    assert score_config(ServeConfig(model="gs://bucket/run")).backend == "jax"
    config = ServeConfig(model="gs://bucket/run", step=4, backend="jax")
    assert score_config(config) == ScoreConfig(model="gs://bucket/run", step=4, backend="jax")


def test_mistakes_are_said_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"model = '': must be given"):
        serve(ServeConfig())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: cannot be listened on"):
            serve(ServeConfig(model=str(tmp_path), port=port))
    with pytest.raises(UserError, match="must be a Hugging Face folder"):
        serve(ServeConfig(model=str(tmp_path), port=0))
    with pytest.raises(UserError, match=r"must not exceed limits\.queued_texts"):
        LimitsConfig(texts=9999)
