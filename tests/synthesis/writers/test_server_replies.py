"""Bodies as servers write them."""

import json

import pytest

from codepmp_jax.synthesis.writers.server_replies import (
    MalformedError,
    ServerReply,
    read_error,
    read_reply,
)

USAGE = {"prompt_tokens": 5, "completion_tokens": 7}


def body(choice, **more) -> str:
    return json.dumps({"choices": [choice], "usage": USAGE, "model": "m"} | more)


def read(text) -> ServerReply:
    reply = read_reply(text)
    assert isinstance(reply, ServerReply)
    return reply


def message(content, **more):
    return {"message": {"role": "assistant", "content": content} | more, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (message("x"), "x"),
        (message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]), "x"),
        (message([{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]), "xy"),
        (message(["x"]), "x"),
        (message({"type": "text", "text": "x"}), "x"),
        (message([{"type": "text", "text": None}, {"type": "image_url"}, 3]), ""),
        (message(None, reasoning_content="hm"), ""),
        ({"message": {"role": "assistant"}}, ""),
        ({"message": "x"}, "x"),
        ({"delta": {"content": "x"}}, "x"),
        ({"text": "x"}, "x"),
        (message("a\ud800b"), "a\ufffdb"),
    ],
)
def test_texts(choice, text):
    assert read(body(choice)).text == text


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (USAGE, (5, 7)),
        ({"prompt_tokens": None, "completion_tokens": None}, (0, 0)),
        ({}, (0, 0)),
        (None, (0, 0)),
        ("many", (0, 0)),
        ({"prompt_tokens": "5", "completion_tokens": -1}, (0, 0)),
        ({"prompt_tokens": 5.0, "completion_tokens": 1e300}, (5, 0)),
    ],
)
def test_counts_that_are_none_are_0(usage, counts):
    reply = read(body(message("x"), usage=usage))
    assert (reply.num_prompt_tokens, reply.num_tokens) == counts


@pytest.mark.parametrize(("reason", "word"), [("eos", "eos"), (None, "null"), ("", ""), (3, "3")])
def test_finish_reasons_are_the_servers_words(reason, word):
    assert read(body(message("x") | {"finish_reason": reason})).finish_reason == word
    assert read(body({"text": "x"})).finish_reason == "null"


def test_refusals_and_models():
    reply = read(body(message(None, refusal="I cannot."), model=None))
    assert (reply.text, reply.refusal, reply.model) == ("", "I cannot.", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>login</html>",
        '{"choices": [{"mess',
        "[]",
        "null",
        "3",
        "{}",
        '{"choices": []}',
        '{"choices": null}',
        '{"choices": [null]}',
        '{"choices": ["x"]}',
        '{"choices": [{}]}',
        '{"choices": [{"index": 0, "finish_reason": "stop"}]}',
        '{"choices": [{"message": {"content": 3}}]}',
        "[" * 100_000,
        "x" * 100_000,
    ],
)
def test_what_is_no_reply_is_malformed_and_shown_in_one_line(text):
    with pytest.raises(MalformedError) as caught:
        read_reply(text)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_an_error_with_status_200():
    assert read_reply('{"error": {"message": "busy", "code": 429}}') == {
        "message": "busy",
        "code": 429,
    }
    assert read_reply('{"error": "busy"}') == {"message": "busy"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"error": {"message": "no such model", "type": "x"}}', "400: no such model"),
        ('{"error": "no such model"}', "400: no such model"),
        ('{"object": "error", "message": "too long", "code": 400}', "400: too long"),
        ('{"detail": [{"loc": ["body", "seed"]}]}', '400: [{"loc": ["body", "seed"]}]'),
        ("<html>\n blocked</html>", "400: <html> blocked</html>"),
        ("", "400: "),
        ("3", "400: 3"),
    ],
)
def test_a_servers_words_on_an_error(text, said):
    assert read_error(400, text).strip() == said.strip()
