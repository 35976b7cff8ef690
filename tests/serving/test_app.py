"""The routes' answers to what is refused, late or gone, with a worker that the test steers."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from typing import Literal

import numpy as np
import pytest
import uvicorn

from codepmp_jax.config import LimitsConfig
from codepmp_jax.serving.app import make_app
from codepmp_jax.serving.batcher import Batcher
from codepmp_jax.serving.metrics import Metrics
from codepmp_jax.serving.texts import TextReader
from codepmp_jax.serving.worker import ScoringError
from codepmp_jax.text.forms import TextForm
from codepmp_jax.text.tokenization import Tokenizer
from tests.serving.test_batcher import SECONDS, FakeWorker

LIMITS = LimitsConfig(
    body_bytes=4000, texts=20, queued_texts=20, seconds=30.0, drain_seconds=1, connections=50
)
JSON = {"Content-Type": "application/json"}


class App:
    """The application behind uvicorn, in this process."""

    def __init__(self, limits=LIMITS, key="", queries: Literal["whole", "split"] = "whole"):
        self.worker = FakeWorker()
        self.metrics = Metrics()
        self.batcher = Batcher(self.worker, self.metrics, limits.queued_texts)
        reader = TextReader(Tokenizer.load("embedded"), TextForm("text"), vocab_size=1 << 20)
        app = make_app("tiny", reader, self.batcher, self.metrics, limits, queries, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=limits.drain_seconds)
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def send(self, method, path, body=None, headers=JSON):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def post(self, path, body, **headers):
        status, answer, given = self.send("POST", path, json.dumps(body).encode(), JSON | headers)
        return status, json.loads(answer), given

    def count(self, route, status):
        return self.metrics.requests.labels(route, status)._value.get()

    def close(self):
        self.worker.gate.set()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.batcher.close()


@pytest.fixture
def start():
    apps = []

    def make(**settings):
        apps.append(App(**settings))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture(scope="module")
def app():
    made = App()
    yield made
    made.close()


def eventually(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


MALFORMED = {
    "no JSON": (b"{", 400, "JSON"),
    "no object": (b"[]", 400, "body"),
    "nothing to score": (b"{}", 400, "must hold `query`"),
    "a query that is no list": (b'{"query": "a"}', 400, "query"),
    "a query that is no text": (b'{"query": [1]}', 400, "query"),
    "no Unicode": (b'{"query": ["\\ud800"]}', 400, ""),
    "no UTF-8": (b'{"query": ["\xff"]}', 400, ""),
    "an empty text": (b'{"query": ["a", ""]}', 400, "text 1: has no tokens"),
    "too few prompts": (b'{"prompts": ["a"], "responses": ["b", "c"]}', 400, "1 prompts"),
    "both forms": (b'{"query": ["a"], "responses": ["b"]}', 400, "or else"),
    "too many texts": (json.dumps({"query": ["a"] * 21}).encode(), 413, "limits.texts"),
    "too many bytes": (json.dumps({"query": ["a" * 4000]}).encode(), 413, "limits.body_bytes"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_with_its_reason(app, name):
    body, expected, reason = MALFORMED[name]
    status, answer, _ = app.send("POST", "/get_reward", body)
    assert status == expected
    error = json.loads(answer)["error"]
    assert error["code"] == expected
    assert reason in error["message"]
    assert len(error["message"]) < 300
    assert app.post("/get_reward", {"query": ["a"]})[0] == 200


def test_a_body_without_a_length_is_bounded_too(app):
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=SECONDS)
    with contextlib.closing(connection):
        pieces = iter([b'{"query": ["', *[b"a" * 1000] * 6, b'"]}'])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/get_reward", pieces, JSON, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_openrlhf_reads_rewards_scores_and_logs(app):
    body = {"query": ["a b", "c", "a b"], "prompts": ["a", "c", "a"], "labels": ["1", None, 2]}
    status, answer, _ = app.post("/get_reward", body)
    assert status == 200
    assert len(answer["rewards"]) == 3
    assert answer["rewards"] == answer["scores"]
    assert answer["rewards"][0] == answer["rewards"][2] != answer["rewards"][1]
    assert all(len(values) == 3 for values in answer["extra_logs"].values())
    assert app.post("/get_reward", {"query": []})[1]["rewards"] == []


def test_classify_answers_as_vllm_does(app):
    (reward,) = app.post("/get_reward", {"query": ["a b"]})[1]["rewards"]
    tokens = Tokenizer.load("embedded").backend.encode("a b").ids
    for given in ("a b", ["a b"], tokens, [tokens]):
        status, answer, _ = app.post("/classify", {"model": "tiny", "input": given})
        assert status == 200
        assert answer["data"] == [
            {"index": 0, "label": "LABEL_0", "probs": [reward], "num_classes": 1}
        ]
        assert answer["usage"]["prompt_tokens"] == len(tokens)
    assert app.post("/classify", {"input": ["a", "b"]})[1]["data"][1]["index"] == 1
    assert app.post("/classify", {"input": []})[1]["data"] == []
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (answer,) = app.post("/classify", {"messages": messages})[1]["data"]
    expected = app.post("/get_reward", {"prompts": ["a"], "responses": ["b"]})[1]["rewards"]
    assert answer["probs"] == expected
    for wrong in ({}, {"input": "a", "messages": messages}, {"input": [[-1]]}, {"messages": []}):
        assert app.post("/classify", wrong)[0] == 400


def test_queries_are_split_where_the_server_says_so(start):
    app = start(queries="split")
    body = {"query": ["ab", "ac"], "prompts": ["a", "a"]}
    answers = {"prompts": ["a", "a"], "responses": ["b", "c"]}
    rewards = app.post("/get_reward", body)[1]["rewards"]
    assert rewards == app.post("/get_reward", answers)[1]["rewards"]
    assert app.post("/get_reward", {"query": ["ab"], "prompts": ["b"]})[0] == 400


def test_a_key_is_asked_for_except_by_what_watches(start):
    app = start(key="secret")
    body = {"query": ["a"]}
    assert app.post("/get_reward", body)[0] == 401
    assert app.post("/get_reward", body, Authorization="Bearer other")[0] == 401
    assert app.post("/get_reward", body, Authorization="Basic secret")[0] == 401
    assert app.post("/classify", {"input": "a"})[0] == 401
    assert app.post("/get_reward", body, Authorization="Bearer secret")[0] == 200
    assert app.send("GET", "/health")[0] == app.send("GET", "/metrics")[0] == 200


def test_a_full_queue_is_said_and_empties(start):
    app = start()
    app.worker.gate.clear()
    held = [
        threading.Thread(target=app.post, args=("/get_reward", {"query": [c] * 10})) for c in "abc"
    ]
    held[0].start()
    assert app.worker.begun.acquire(timeout=SECONDS)
    for thread in held[1:]:
        thread.start()
    eventually(lambda: app.metrics.queued._value.get() == 20)
    status, answer, headers = app.post("/get_reward", {"query": ["d"]})
    assert status == 429
    assert headers["Retry-After"] == "1"
    assert "limits.queued_texts" in answer["error"]["message"]
    app.worker.gate.set()
    for thread in held:
        thread.join()
    assert app.post("/get_reward", {"query": ["d"]})[0] == 200
    assert app.count("/get_reward", "200") == 4
    assert app.metrics.texts._value.get() == 31


def test_late_answers_are_timeouts_and_slow_bodies_too(start):
    limits = LimitsConfig(texts=20, queued_texts=20, seconds=0.5, drain_seconds=1)
    app = start(limits=limits)
    app.worker.gate.clear()
    status, answer, _ = app.post("/get_reward", {"query": ["a"]})
    assert (status, answer["error"]["code"]) == (504, 504)
    app.worker.gate.set()
    with socket.create_connection(("127.0.0.1", app.port), timeout=SECONDS) as slow:
        slow.sendall(b"POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert b" 504 " in slow.recv(1000)


def test_who_goes_away_is_not_waited_for(start):
    """What it asked for is not scored, if that has not begun."""
    app = start()
    app.worker.gate.clear()
    held = threading.Thread(target=app.post, args=("/get_reward", {"query": ["a"]}))
    held.start()
    assert app.worker.begun.acquire(timeout=SECONDS)
    body = json.dumps({"query": ["b", "c"]}).encode()
    with socket.create_connection(("127.0.0.1", app.port), timeout=SECONDS) as gone:
        head = f"POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        gone.sendall(head.encode() + body)
        eventually(lambda: app.metrics.queued._value.get() == 2)
    eventually(lambda: app.count("/get_reward", "499") == 1)
    app.worker.gate.set()
    held.join()
    assert app.post("/get_reward", {"query": ["d"]})[0] == 200
    assert [len(rows) for rows in app.worker.rounds] == [1, 1]


def test_an_error_of_the_model_is_an_answer(start):
    app = start()
    app.worker.fates = [ScoringError("out of memory")]
    status, answer, _ = app.post("/get_reward", {"query": ["a", "b"]})
    assert status == 500
    assert answer["error"]["message"] == "out of memory"
    assert app.post("/get_reward", {"query": ["a", "b"]})[0] == 200


def test_a_server_that_cannot_score_is_not_healthy(start):
    app = start()
    assert app.send("GET", "/health")[0] == 200
    app.batcher.close()
    assert app.send("GET", "/health")[0] == 503
    assert app.post("/get_reward", {"query": ["a"]})[0] == 503


def test_paths_that_are_none_share_a_label(app):
    for path in ("/a", "/b"):
        assert app.send("GET", path)[0] == 404
    assert app.count("other", "404") == 2
    assert (
        b'codepmp_requests_total{route="other",status="404"} 2.0' in app.send("GET", "/metrics")[1]
    )


def test_rewards_are_the_float32_exactly(start, monkeypatch):
    app = start()
    value = np.float32(0.1) * np.float32(-3)
    own = app.worker.rewards
    monkeypatch.setattr(
        app.worker,
        "rewards",
        lambda rows: ((indices, np.full(1, value)) for indices, _ in own(rows)),
    )
    _, text, _ = app.send("POST", "/get_reward", b'{"query": ["a"]}')
    (reward,) = json.loads(text)["rewards"]
    assert reward == float(value)
