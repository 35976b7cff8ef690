"""What becomes of a request that a server refuses or fails on, and of the others."""

from __future__ import annotations

import time

import pytest

from codepmp_jax.cli.errors import UserError
from tests.synthesis.writers.servers import many, requests


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
    completions = sampler(server.url, max_retries=1, concurrency=16).sample(many(60))
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
    stream = sampler(server.url, max_retries=0, concurrency=2).stream(many(50))
    with pytest.raises(UserError, match="no server answers"):
        came.extend(completion.text for completion in stream)
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
    with pytest.raises(UserError, match=r"--openai\.max-tokens-name max_completion_tokens"):
        sampler(server.url).sample(requests("a"))
    for chat in ("auto", "never"):
        one = sampler(server.url, max_tokens_name="max_completion_tokens", chat=chat)
        assert one.sample(requests("a"))[0].text == "A"
        assert server.bodies[-1]["max_completion_tokens"] == 1024


def test_a_context_that_is_too_short_for_any_request(serve, sampler):
    server = serve(lambda *_: 400)
    server.says = {"error": {"message": "max_tokens=1024 cannot be greater than max_model_len=512"}}
    with pytest.raises(UserError, match=r"every request fails.*lower --sampling\.max-tokens"):
        sampler(server.url).sample(many(3))


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
