"""`codepmp serve` with a real model: right under load, kills and the end."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.records.scores import read_scores
from codepmp_jax.serving.rewards import remote_rewards
from tests import processes
from tests.e2e.launching import environment, launch
from tests.e2e.serving import Server, serving
from tests.evaluation.conftest import write_reward_model

NUM_PROBLEMS, NUM_CANDIDATES = 12, 6
ROOT = pathlib.Path(__file__).parents[2]
# Environments with verl 0.9 and OpenRLHF 0.11, where somebody has made them: no requirements of this repository.
VERL_PYTHON = ROOT / ".venv-verl" / "bin" / "python"
OPENRLHF_PYTHON = ROOT / ".venv-openrlhf" / "bin" / "python"
# Without deepspeed, ray, vllm and flash-attn, which its agent does not import.
NO_OPENRLHF = (
    "there is no .venv-openrlhf: python -m venv .venv-openrlhf; .venv-openrlhf/bin/pip install -e . torch==2.13.0 "
    "transformers==5.15.0 aiohttp sympy pylatexenc; .venv-openrlhf/bin/pip install --no-deps openrlhf==0.11.2"
)
KEY = "secret"
BEARER = {"Authorization": f"Bearer {KEY}"}


def problems() -> list[Problem]:
    """Problems over the words of the tiny model; candidates of a problem begin alike, and some are equal."""
    random.seed(0)
    words = "abcdefghijklmno"

    def text(longest: int) -> str:
        return " ".join(random.choices(words, k=random.randint(1, longest)))

    found = []
    for number in range(NUM_PROBLEMS):
        start = text(10)
        candidates = [f"{start} {text(20)}" for _ in range(NUM_CANDIDATES - 1)]
        candidates.append(candidates[0])
        found.append(Problem(f"p{number}", text(15), candidates=tuple(map(Candidate, candidates))))
    return found


def scores(
    folder: pathlib.Path, output: pathlib.Path, asked: Sequence[Problem]
) -> dict[str, list[float]]:
    """Problem -> the rewards that `evaluate score` gives its candidates."""
    path = output / "problems.jsonl"
    path.write_text("".join(f"{problem.to_json()}\n" for problem in asked))
    launch(
        *("evaluate.py", "score", "--model", folder, "--input", path),
        *("--output", output / "scores.jsonl"),
    )
    found: dict[str, list[float]] = {}
    for score in read_scores(output / "scores.jsonl"):
        found.setdefault(score.item_id, []).append(score.reward)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_reward_model(tmp_path_factory.mktemp("reward_model"))


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    return scores(folder, tmp_path_factory.mktemp("scores"), problems())


def ask(server: Server, problem: Problem) -> list[float]:
    responses = [candidate.response for candidate in problem.candidates]
    body = {"prompts": [problem.prompt] * len(responses), "responses": responses}
    status, answer = server.post("/get_reward", body, **BEARER)
    assert status == 200, answer
    return answer["rewards"]


def ask_all(server: Server, during: Callable[[], None] = lambda: None) -> dict[str, list[float]]:
    """Problem -> rewards, by 16 clients that ask for all of them three times, while something happens."""
    with ThreadPoolExecutor(16) as clients:
        asked = [
            (problem.problem_id, clients.submit(ask, server, problem))
            for _ in range(3)
            for problem in problems()
        ]
        during()
        found = [(name, answer.result()) for name, answer in asked]
    assert all(rewards == dict(found)[name] for name, rewards in found)
    return dict(found)


def test_scores_are_those_of_evaluate_score_whatever_else_happens(folder, expected):
    with serving(folder, "--gather-seconds", "0.02", CODEPMP_API_KEY=KEY) as server:
        assert server.post("/get_reward", {"query": ["a"]})[0] == 401

        def disturb() -> None:
            for body in (b"{", b"[]", b'{"query": [7]}'):
                assert server.send("POST", "/get_reward", body, BEARER)[0] == 400
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", server.port)) as gone:
                    head = f"POST /get_reward HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
                    body = b'{"query": ["a b", "c"]}'
                    gone.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

        assert ask_all(server, disturb) == expected
        assert server.metric("codepmp_texts_together_sum") > server.metric(
            "codepmp_texts_together_count"
        )

        def kill() -> None:
            (worker, *_) = [pid for pid in server.process.children() if _is_worker(pid)]
            os.kill(worker, signal.SIGKILL)

        assert ask_all(server, kill) == expected
        assert server.metric("codepmp_worker_restarts_total") == 1
        assert server.send("GET", "/health")[0] == 200
        # What is under way at SIGTERM is answered, and the command ends well.
        begun = threading.Barrier(NUM_PROBLEMS + 1)

        def ask_last(problem: Problem) -> list[float]:
            begun.wait()
            return ask(server, problem)

        with ThreadPoolExecutor(NUM_PROBLEMS) as clients:
            answers = [clients.submit(ask_last, problem) for problem in problems()]
            begun.wait()
            server.process.until(
                lambda: server.metric('codepmp_request_seconds_count{route="/get_reward"}') > 90
            )
            server.process.send(signal.SIGTERM)
            for problem, answer in zip(problems(), answers, strict=True):
                # A request that had not been taken is refused by the closed port, never lost.
                with contextlib.suppress(ConnectionError):
                    assert answer.result() == expected[problem.problem_id]
        assert server.process.wait(60) == 0, server.process.stderr
        assert "Traceback" not in server.process.stderr


def _is_worker(pid: int) -> bool:
    """Whether a process is one that multiprocessing started to run something."""
    return b"spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_trl_trains_with_both_reward_functions(folder, tmp_path):
    with serving(folder) as server:
        script = pathlib.Path(__file__).with_name("trl_grpo.py")
        command = [sys.executable, script, folder, server.url, tmp_path / "grpo"]
        done = processes.run(command, environment(), ROOT)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["local"] == found["remote"]
        assert len(found["local"]) == 2
        assert len({reward for rewards in found["local"] for reward in rewards}) > 4
        for (local, remote), rewards in zip(found["means"], found["local"], strict=True):
            assert local == remote == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)


@pytest.mark.skipif(not VERL_PYTHON.exists(), reason=f"verl is not at {VERL_PYTHON.parent}")
def test_verl_gets_the_same_rewards(folder):
    with serving(folder) as server:
        script = pathlib.Path(__file__).with_name("verl_rewards.py")
        done = processes.run([VERL_PYTHON, script, folder, server.url], environment(), ROOT)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["verl"] == found["direct"]
        assert len(set(found["verl"])) == 3


@pytest.mark.skipif(not OPENRLHF_PYTHON.exists(), reason=NO_OPENRLHF)
def test_openrlhf_gets_the_rewards_of_evaluate_score(folder, tmp_path):
    """By the address, and by the file of docs/guides/serving.md."""
    guide = (ROOT / "docs" / "guides" / "serving.md").read_text()
    (code,) = re.findall(r"```python\n(# reward\.py\n.+?)```", guide, re.S)
    assert "http://127.0.0.1:5000" in code
    assert "<|im_end|>" in code
    file = tmp_path / "reward.py"
    with serving(folder) as server:
        text = code.replace("http://127.0.0.1:5000", server.url).replace("<|im_end|>", "<eos>")
        file.write_text(text)
        script = pathlib.Path(__file__).with_name("openrlhf_rewards.py")
        command = [OPENRLHF_PYTHON, script, folder, f"{server.url}/get_reward", file]
        done = processes.run(command, environment(), ROOT)
        assert done.returncode == 0, done.stderr
        # Nothing was asked for twice.
        by_address, by_file = json.loads(done.stdout.splitlines()[-1])
        asked = server.metric('codepmp_requests_total{route="/get_reward",status="200"}')
        assert asked == len(by_address) + len(by_file)
    rollouts = by_address + by_file
    given = [
        Problem(str(index), rollout["prompt"], candidates=(Candidate(rollout["response"]),))
        for index, rollout in enumerate(rollouts)
    ]
    rewards = list(scores(folder, tmp_path, given).values())
    assert [rollout["reward"] for rollout in rollouts] == rewards
    assert [rollout["score"] for rollout in rollouts] == rewards
    assert {rollout["is_truncated"] for rollout in by_address} == {True, False}
    for rollout in by_address:
        words = f"Q : {rollout['prompt']} A : {rollout['response']} <eos>".split()
        assert rollout["logs"] == {"num_tokens": [len(words)], "is_cut": [0]}


def test_a_server_that_is_not_there_is_said_after_some_patience():
    reward = remote_rewards(f"http://127.0.0.1:{processes.free_port()}", patience_seconds=1.0)
    with pytest.raises(ValueError, match="see that `codepmp serve` runs there"):
        reward(prompts=["a"], completions=["b"])
