"""Against servers in threads of this process: what is asked, of whom, and what is made of the answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import OpenAIConfig, SamplingConfig
from codepmp_jax.synthesis.writers.openai_sampler import OpenAISampler
from tests.synthesis.writers.servers import many, requests


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
