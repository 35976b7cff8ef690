"""Against servers in threads of this process, which fail as they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import OpenAIConfig, SamplingConfig, WriterConfig
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.writers.openai_sampler import OpenAISampler
from codepmp_jax.synthesis.writers.sampler import Request

SOURCE = SourceFile("s", "x = 1", "d", "x", "file", "python", "r", "p", "mit", 1)
# status, or the seconds to wait before a good answer
Behaviour = Callable[[str, int], "int | float"]


def good(prompt: str, times: int) -> int:
    return 200


class Server:
    """Answers a prompt with the prompt in capitals; `behave(prompt, times asked before)` may spoil it."""

    def __init__(self, behave: Behaviour = good):
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self.retry_after = "0.05"
        self.says: dict[str, Any] | None = None
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, answer = server.answer(self.path, headers, body)
                payload = json.dumps(answer).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(payload)))
                    if status == 429 and server.retry_after:
                        self.send_header("Retry-After", server.retry_after)
                    self.end_headers()
                    self.wfile.write(payload)

            def log_message(self, format, *args):
                """Silent."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def prompts(self) -> list[str]:
        return [prompt_of(body) for body in self.bodies]

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        prompt = prompt_of(body)
        with self.lock:
            times = self.prompts().count(prompt)
            self.bodies.append(body)
            self.headers.append(headers)
            self.paths.add(path)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        status = self.behave(prompt, times)
        if isinstance(status, float):
            time.sleep(status)
            status = 200
        with self.lock:
            self.busy -= 1
        if status == 0:
            raise ConnectionError("broken off")
        if status != 200 and self.says:
            return status, self.says
        if status != 200:
            message = f"status {status} for {prompt}"
            if "long" in prompt:
                message = "This model's maximum context length is 8 tokens, yours has 9."
            return status, {"error": {"message": message, "type": "x", "code": status}}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": prompt.upper()}
        if path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        if "cut" in prompt:
            choice["finish_reason"] = "length"
        if "ends by" in prompt:
            choice["finish_reason"] = prompt.rpartition(" ")[2]
        if "filtered" in prompt:
            choice["finish_reason"] = "content_filter"
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        answer = {"id": "1", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return 200, {} if "malformed" in prompt else answer


def prompt_of(body: dict[str, Any]) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][0]["content"]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*args: Any) -> Server:
        servers.append(Server(*args))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def dead() -> str:
    """The URL of a server that is none."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}/v1"


@pytest.fixture
def sampler() -> Iterator[Callable[..., OpenAISampler]]:
    made: list[OpenAISampler] = []

    def make(*urls: str, **settings: Any) -> OpenAISampler:
        chosen: dict[str, Any] = {"max_retries": 2}
        for name in OpenAIConfig.__dataclass_fields__.keys() - {"endpoints"}:
            if name in settings:
                chosen[name] = settings.pop(name)
        config = WriterConfig(
            sampler="openai",
            model=settings.pop("model", "m"),
            openai=OpenAIConfig(endpoints=urls, **chosen),
            **settings,
        )
        made.append(OpenAISampler(config, seed=3))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """The library's pauses between retries, a hundred times as short."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.08)
    monkeypatch.setattr("codepmp_jax.synthesis.writers.rate_limit._FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def requests(*prompts: str) -> list[Request]:
    return [Request(f"key {prompt}", prompt, "d", SOURCE) for prompt in prompts]


def many(number: int) -> list[Request]:
    return requests(*(f"p{i}" for i in range(number)))


def test_answers_keep_the_order_and_carry_their_facts(serve, sampler):
    server = serve(lambda prompt, _: 0.03 if prompt == "p0" else 200)
    completions = sampler(server.url).sample(many(20))
    assert [completion.text for completion in completions] == [f"P{i}" for i in range(20)]
    assert [completion.key for completion in completions] == [f"key p{i}" for i in range(20)]
    first = completions[0]
    assert (first.finish_reason, first.num_prompt_tokens, first.num_tokens) == ("stop", 5, 7)
    assert first.facts["sampler"] == "openai"
    assert first.facts["model"] == "m"
    assert first.facts["temperature"] == 0.7
    assert len({completion.facts["seed"] for completion in completions}) == 20


def test_what_is_sent(serve, sampler):
    server = serve()
    sampling = SamplingConfig(temperature=0.5, top_p=0.9, top_k=7, max_tokens=11, stop=("END",))
    (completion,) = sampler(server.url, sampling=sampling).sample(requests("p"))
    (body,) = server.bodies
    assert body == {
        "messages": [{"role": "user", "content": "p"}],
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "max_tokens": 11,
        "stop": ["END"],
        "seed": completion.facts["seed"],
    }
    assert 0 <= body["seed"] < 2**31
    assert "authorization" not in server.headers[0]


def test_the_key_is_sent(serve, sampler, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    server = serve()
    sampler(server.url).sample(requests("p"))
    assert server.headers[0]["authorization"] == "Bearer abc"


def test_seeds_depend_on_key_and_seed_alone(serve, sampler):
    server = serve()
    one = sampler(server.url)
    together = [completion.facts["seed"] for completion in one.sample(many(4))]
    alone = [one.sample([request])[0].facts["seed"] for request in many(4)]
    assert together == alone
    other = OpenAISampler(one._config, seed=4)
    assert other.sample(many(1))[0].facts["seed"] != alone[0]
    other.close()


def test_without_chat_the_prompt_goes_as_it_is(serve, sampler):
    server = serve()
    (completion,) = sampler(server.url, chat="never").sample(requests("p"))
    assert completion.text == "P"
    assert server.paths == {"/v1/completions"}
    assert server.bodies[0]["prompt"] == "p"


def test_a_cut_reply_and_a_code_block(serve, sampler):
    server = serve()
    cut, code = sampler(server.url, extract="code").sample(
        requests("cut", "Sure:\n```python\nx = 1\n```\nDone.")
    )
    assert (cut.text, cut.finish_reason) == ("CUT", "length")
    assert code.text == "X = 1"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_error_is_retried(serve, sampler, status):
    server = serve(lambda _, times: status if times < 2 else 200)
    completions = sampler(server.url, max_retries=3).sample(many(8))
    assert [completion.text for completion in completions] == [f"P{i}" for i in range(8)]
    assert len(server.bodies) == 3 * 8


def test_a_refused_request_fails_alone_and_at_once(serve, sampler):
    server = serve(lambda prompt, _: 400 if prompt.startswith("bad") else 200)
    completions = sampler(server.url).sample(requests("a", "bad", "b", "bad and long", "filtered"))
    assert [completion.text for completion in completions] == ["A", "", "B", "", ""]
    bad, too_long, filtered = completions[1], completions[3], completions[4]
    assert bad.failure == "request refused"
    assert "status 400 for bad" in bad.detail
    assert too_long.failure == "prompt too long"
    assert "maximum context length" in too_long.detail
    assert filtered.failure == "request refused"
    assert "content_filter" in filtered.detail
    assert server.prompts().count("bad") == 1


@pytest.mark.parametrize("spoilt", ["bad", "malformed"])
def test_a_request_that_every_server_fails_on_fails_alone(serve, sampler, spoilt):
    servers = [serve(lambda prompt, _: 500 if prompt == "bad" else 200) for _ in range(2)]
    urls = [server.url for server in servers]
    completions = sampler(*urls).sample(requests("a", spoilt, "b"))
    assert [completion.failure for completion in completions] == ["", "error", ""]
    assert completions[1].detail
    assert all(server.prompts().count(spoilt) >= 1 for server in servers)


def test_only_failing_requests_are_no_reason_to_stop(serve, sampler):
    """A retry list, say."""
    server = serve(lambda prompt, _: 500 if prompt.startswith("p") else 200)
    completions = sampler(server.url).sample(many(3))
    assert {completion.failure for completion in completions} == {"error"}


def test_a_403_or_404_for_one_prompt_is_that_requests(serve, sampler):
    server = serve(lambda prompt, _: {"bad": 403, "worse": 404}.get(prompt, 200))
    completions = sampler(server.url).sample(requests("a", "bad", "b", "worse"))
    assert [completion.text for completion in completions] == ["A", "", "B", ""]
    assert [c.failure for c in completions] == ["", "request refused", "", "request refused"]
    assert "403: status 403 for bad" in completions[1].detail


def test_a_key_that_is_withdrawn_on_the_way_is_noticed(serve, sampler):
    server = serve(lambda *_: 403 if len(server.bodies) > 20 else 200)
    with pytest.raises(UserError, match=r"refuses model 'm' \(403"):
        sampler(server.url, concurrency=4).sample(many(500))
    assert len(server.bodies) < 50


def test_a_connection_that_breaks_off_for_one_prompt_is_that_requests(serve, sampler):
    server = serve(lambda prompt, _: 0 if prompt == "bad" else 200)
    completions = sampler(server.url, concurrency=2).sample(requests("bad", "a", "b"))
    assert [completion.text for completion in completions] == ["", "A", "B"]
    assert completions[0].failure == "error"


def test_a_rate_limit_without_retry_after_is_waited_for(serve, sampler, caplog):
    """Twenty answers, then none for a while, again and again."""
    open_at = 0.0

    def behave(*_) -> int:
        nonlocal open_at, num_left
        if time.monotonic() >= open_at:
            num_left -= 1
            if num_left >= 0:
                return 200
            open_at, num_left = time.monotonic() + 0.3, 20
        return 429

    num_left = 20
    server = serve(behave)
    server.retry_after = ""
    completions = sampler(server.url, max_retries=0, concurrency=16).sample(many(60))
    assert [completion.text for completion in completions] == [f"P{i}" for i in range(60)]
    # Of those that were refused, most waited for one to be answered.
    assert len(server.bodies) < 60 + 2 * 16 + 2 * 10
    said = [record.getMessage() for record in caplog.records]
    assert any("limits its rate (429: status 429 for p" in line for line in said)


@pytest.mark.parametrize("status", [429, 402, 529])
def test_a_quota_ends_the_run_after_the_longest_wait(serve, sampler, status):
    server = serve(lambda *_: status)
    server.retry_after = ""
    server.says = {"error": {"message": "You exceeded your current quota"}}
    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"exceeded your current quota; no answer within 0.3 s"
    ) as e:
        sampler(server.url, max_wait_seconds=0.3).sample(many(9))
    assert time.monotonic() - started < 5
    assert "--openai.max-wait-seconds" in str(e.value)


def test_a_server_that_limits_its_rate_leaves_its_jobs_to_the_others(serve, sampler):
    limited, other = serve(lambda *_: 429), serve()
    limited.retry_after = "3600"
    one = sampler(limited.url, other.url, max_wait_seconds=7200.0)
    assert [c.text for c in one.sample(many(100))] == [f"P{i}" for i in range(100)]
    assert len(limited.bodies) < 100


def test_what_was_answered_comes_before_the_error(serve, sampler):
    server = serve(lambda *_: 503 if len(server.bodies) > 10 else 200)
    came = []
    with pytest.raises(UserError, match="no server answers"):
        for completion in sampler(server.url, max_retries=0, concurrency=2).stream(many(50)):
            came.append(completion.text)
    assert sorted(came) == sorted(f"P{i}" for i in range(10))


def test_parameters_that_a_server_refuses_are_named_and_can_be_left_out(serve, sampler):
    server = serve(lambda *_: 422 if "seed" in server.bodies[-1] else 200)
    server.says = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}
    with pytest.raises(
        UserError, match=r"every request fails.*extra_forbidden.*--openai.omit seed"
    ):
        sampler(server.url).sample(requests("a"))
    one = sampler(server.url, omit=("seed", "temperature"))
    (completion,) = one.sample(requests("a"))
    assert completion.text == "A"
    assert server.bodies[-1].keys() == {"messages", "model", "top_p", "max_tokens"}
    assert completion.facts.keys() == {"sampler", "model", "revision", "top_p", "max_tokens"}
    assert one.settings()["omit"] == ["seed", "temperature"]


def test_the_name_of_max_tokens(serve, sampler):
    server = serve(lambda *_: 400 if "max_tokens" in server.bodies[-1] else 200)
    server.says = {"error": {"message": "Use 'max_completion_tokens' instead of 'max_tokens'."}}
    with pytest.raises(UserError, match="--openai.max-tokens-name max_completion_tokens"):
        sampler(server.url).sample(requests("a"))
    for chat in ("auto", "never"):
        one = sampler(server.url, max_tokens_name="max_completion_tokens", chat=chat)
        assert one.sample(requests("a"))[0].text == "A"
        assert server.bodies[-1]["max_completion_tokens"] == 1024


def test_a_context_that_is_too_short_for_any_request(serve, sampler):
    server = serve(lambda *_: 400)
    server.says = {"error": {"message": "max_tokens=1024 cannot be greater than max_model_len=512"}}
    with pytest.raises(UserError, match="every request fails.*lower --sampling.max-tokens"):
        sampler(server.url).sample(many(3))


@pytest.mark.parametrize("thinking", [True, False])
def test_thoughts_are_a_setting_of_the_chat_template(serve, sampler, thinking):
    server = serve()
    one = sampler(server.url, enable_thinking=thinking)
    one.sample(requests("a"))
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": thinking}
    assert one.settings()["enable_thinking"] is thinking


@pytest.mark.parametrize(
    ("word", "reason", "failure"),
    [
        ("eos", "stop", ""),
        ("max_tokens", "length", ""),
        ("MODEL_LENGTH", "length", ""),
        ("safety", "", "request refused"),
        ("error", "", "error"),
    ],
)
def test_how_a_reply_ended(serve, sampler, word, reason, failure):
    server = serve()
    (completion,) = sampler(server.url).sample(requests(f"ends by {word}"))
    assert (completion.finish_reason, completion.failure) == (reason, failure)
    assert completion.facts.get("server_finish_reason") == ("eos" if word == "eos" else None)


def test_a_reply_as_long_as_it_may_be_is_cut_off_whatever_its_end_is_called(serve, sampler):
    one = sampler(serve().url, sampling=SamplingConfig(max_tokens=7))
    assert one.sample(requests("ends by eos"))[0].finish_reason == "length"


def test_another_model_than_the_one_asked_is_told(serve, sampler, caplog):
    (completion,) = sampler(serve().url, model="n").sample(requests("a"))
    assert completion.facts["served_model"] == "m"
    assert "'m' writes where 'n' is asked" in caplog.text


@pytest.mark.parametrize("status", [400, 500])
def test_settings_with_which_every_request_fails(serve, sampler, status):
    server = serve(lambda *_: status)
    with pytest.raises(UserError, match=r"every request fails.*status"):
        sampler(server.url, max_retries=0).sample(many(3))


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_stops_at_once(serve, sampler, status):
    server = serve(lambda *_: status)
    with pytest.raises(UserError, match=f"refuses model 'm'.*{status}"):
        sampler(server.url, concurrency=2).sample(many(50))
    assert len(server.bodies) < 50


def test_requests_are_spread_and_bounded(serve, sampler):
    servers = [serve(lambda *_: 0.01) for _ in range(2)]
    completions = sampler(*(server.url for server in servers), concurrency=4).sample(many(60))
    assert all(completion.text for completion in completions)
    assert [server.most_busy for server in servers] == [4, 4]
    assert min(len(server.bodies) for server in servers) > 10
    assert sum(len(server.bodies) for server in servers) == 60


def test_requests_move_from_a_dead_server(serve, sampler, dead):
    server = serve()
    one = sampler(dead, server.url, concurrency=4)
    completions = one.sample(many(30))
    assert [completion.text for completion in completions] == [f"P{i}" for i in range(30)]
    assert len(server.bodies) == 30


def test_requests_move_from_a_server_that_dies(serve, sampler):
    def die(prompt: str, _: int) -> int:
        if len(dying.bodies) > 10:
            dying.http.socket.close()
            return 503
        return 200

    dying = serve(die)
    other = serve(lambda *_: 0.005)
    completions = sampler(dying.url, other.url, concurrency=4).sample(many(60))
    assert [completion.text for completion in completions] == [f"P{i}" for i in range(60)]
    assert len(other.bodies) > 30


def test_a_server_that_comes_back_is_used_again(serve, sampler):
    is_up = False
    back = serve(lambda *_: 200 if is_up else 503)
    other = serve(lambda *_: 0.002)
    one = sampler(back.url, other.url, concurrency=2)
    assert all(completion.text for completion in one.sample(many(20)))
    before = len(back.bodies)
    one.sample(many(20))
    assert len(back.bodies) == before + 1
    is_up = True
    one.sample(many(20))
    one.sample(many(20))
    assert len(back.bodies) > before + 5


def test_dead_servers_stop_the_work(sampler, dead):
    with pytest.raises(UserError, match=r"no server answers.*127\.0\.0\.1") as caught:
        sampler(dead, max_retries=1).sample(many(5))
    assert dead in str(caught.value)
    assert "takes up the work" in str(caught.value)


def test_a_server_that_never_answers(serve, sampler):
    server = serve(lambda prompt, _: 6.0 if prompt == "slow" else 200)
    one = sampler(server.url, max_retries=0, timeout_seconds=3.0)
    slow, good = one.sample(requests("slow", "p"))
    assert (slow.failure, good.text) == ("error", "P")
    assert "no reply in 3 s" in slow.detail


def test_inside_a_running_event_loop(serve, sampler):
    one = sampler(serve().url)

    async def main() -> list[str]:
        return [completion.text for completion in one.sample(many(3))]

    assert asyncio.run(main()) == ["P0", "P1", "P2"]


def test_close_leaves_no_thread_and_may_be_used_again(serve, sampler):
    server = serve()
    one = sampler(server.url)
    one.close()
    before = set(threading.enumerate())
    for _ in range(2):
        assert one.sample(many(2))[1].text == "P1"
        one.close()
    left = set(threading.enumerate()) - before
    assert all("process_request_thread" in thread.name for thread in left)


def test_settings_name_what_texts_depend_on(sampler, dead):
    config = sampler(dead)._config
    settings = OpenAISampler(config, 0).settings()
    assert settings == json.loads(json.dumps(settings))
    for changed in (
        dataclasses.replace(config, model="other"),
        dataclasses.replace(config, chat="never"),
        dataclasses.replace(config, enable_thinking=False),
        dataclasses.replace(config, openai=dataclasses.replace(config.openai, omit=("seed",))),
        dataclasses.replace(config, sampling=SamplingConfig(stop=("x",))),
    ):
        assert OpenAISampler(changed, 0).settings() != settings
    assert OpenAISampler(config, 1).settings() != settings
    moved = dataclasses.replace(config, openai=OpenAIConfig(endpoints=("http://elsewhere/v1",)))
    assert OpenAISampler(moved, 0).settings() == settings
