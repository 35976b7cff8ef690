"""The reward functions of trainers: their rewards, and what they do where there are none."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ScoreConfig
from codepmp_jax.evaluation.scorers.load import load_scorer
from codepmp_jax.serving import rewards
from codepmp_jax.serving.rewards import local_rewards, remote_rewards
from codepmp_jax.serving.texts import TextReader
from tests.evaluation.conftest import write_reward_model
from tests.evaluation.scorers.rewards import score

PROMPTS, COMPLETIONS = ["a b", "a b", "c", "a b"], ["d e", "f", "g h", "d e"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return ScoreConfig(model=str(write_reward_model(tmp_path_factory.mktemp("model"))))


def test_local_rewards_are_the_scores(config):
    scorer = load_scorer(config)
    reader = TextReader(scorer.tokenizer, scorer.form, scorer.vocab_size)
    rows = reader.answers(PROMPTS, COMPLETIONS).rows
    expected = score(scorer, rows[:3])[[0, 1, 2, 0]].tolist()
    reward = local_rewards(config)
    given = {"completion_ids": [[1]] * 4, "trainer_state": None}
    assert reward(prompts=PROMPTS, completions=COMPLETIONS, **given) == expected
    with pytest.raises(UserError, match="4 prompts and 1 responses"):
        reward(prompts=PROMPTS, completions=["a"])


def test_a_reward_that_is_not_finite_is_an_error(config, monkeypatch):
    scorer = load_scorer(config)
    monkeypatch.setattr(
        scorer, "rewards", lambda rows: iter([([0], np.full(1, np.nan, np.float32))])
    )
    monkeypatch.setattr(rewards, "load_scorer", lambda _: scorer)
    with pytest.raises(UserError, match="must be finite"):
        local_rewards(config)(prompts=["a"], completions=["b"])


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses that the test lists, then with the lengths of the responses as rewards."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        server: Server = self.server  # pyright: ignore[reportAssignmentType]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, self.headers.get("Authorization"), body))
        status = server.statuses.pop(0) if server.statuses else 200
        if status == 0:  # breaks off
            self.close_connection = True
            return
        values = {"rewards": [float(len(text)) for text in body["responses"]]}
        content = json.dumps(values if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(http.server.ThreadingHTTPServer):
    """A server of rewards that fails as asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.statuses: list[int] = []
        self.asked: list[tuple] = []


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(rewards, "_LONGEST_PAUSE", 0.01)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_server_that_is_full_or_restarts_is_asked_again(server):
    server.statuses = [429, 503, 0, 504]
    reward = remote_rewards(server.url, key="secret")
    assert reward(prompts=["a", "b"], completions=["x", "yy"]) == [1, 2]
    assert len(server.asked) == 5
    expected = {"prompts": ["a", "b"], "responses": ["x", "yy"]}
    assert server.asked[-1] == ("/get_reward", "Bearer secret", expected)


@pytest.mark.parametrize("status", [400, 401, 413, 500])
def test_a_refusal_is_said_at_once(server, status):
    server.statuses = [status]
    with pytest.raises(UserError, match=rf"gave no rewards \({status}: .*no"):
        remote_rewards(server.url)(prompts=["a"], completions=["b"])
    assert len(server.asked) == 1


def test_many_texts_are_asked_in_parts(server, monkeypatch):
    monkeypatch.setattr(rewards, "_TEXTS_PER_REQUEST", 2)
    texts = ["x" * n for n in range(1, 6)]
    assert remote_rewards(server.url)(prompts=["a"] * 5, completions=texts) == [1, 2, 3, 4, 5]
    assert [len(body["responses"]) for _, _, body in server.asked] == [2, 2, 1]
