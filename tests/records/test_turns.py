"""Where a prompt ends: in texts, in dialogues, in messages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.records.turns import (
    STYLES,
    end_of_prompt,
    messages_in,
    shared_turns,
    split_texts,
    to_messages,
)

USER = {"role": "user", "content": "2 + 2?"}
FOUR = {"role": "assistant", "content": "4"}
FIVE = {"role": "assistant", "content": "5"}


@given(st.text("ab \n.é"), st.text("ab \n.é"), st.text("ab \n.é"))
def test_a_text_is_cut_between_words_and_something_is_left(prompt, chosen, rejected):
    chosen, rejected = prompt + chosen, prompt + rejected
    end, rule = split_texts(chosen, rejected)
    assert rule == "words"
    assert chosen[:end] == rejected[:end]
    if end:
        assert chosen[:end].strip()
        for text in (chosen, rejected):
            assert text[end:]
            assert not (text[end - 1].isalnum() and text[end].isalnum())


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),
        ("Q: x A: yes", "Q: x A: no", "Q: x A:"),
        ("I think so", "I thought so", "I"),
        ("Why?\n\nyes", "Why?\n\nno", "Why?\n\n"),
        ("Why? yes", "Why?\nno", "Why?"),
        ("return xs[0]", "return xs[1]", "return"),
        ("abc", "abcd", ""),
        ("same words", "same words", "same"),
        ("x ", "y ", ""),
        ("", "y", ""),
        ("  a", "  b", ""),
        ("天空是蓝色", "天空是绿色", ""),
        ("the 👩‍💻", "the 👩‍🔬", "the"),
    ],
)
def test_the_prompt_that_texts_share(chosen, rejected, prompt):
    assert split_texts(chosen, rejected) == (len(prompt), "words")


DIALOGUES = {
    "hh": ("\n\nHuman: {}\n\nAssistant:", " {}"),
    "headings": ("### Human: {}\n### Assistant:", " {}"),
    "bold": ("**User:** {}\n**Assistant:**", " {}"),
    "alpaca": ("### Instruction:\n{}\n\n### Response:\n", "{}"),
    "question": ("Question: {}\nAnswer:", " {}"),
    "chatml": ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "{}<|im_end|>\n"),
    "llama 3": (
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "{}<|eot_id|>",
    ),
    "llama 2": ("<s>[INST] {} [/INST]", " {} </s>"),
    "gemma": ("<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n", "{}<end_of_turn>\n"),
    "zephyr": ("<|user|>\n{}</s>\n<|assistant|>\n", "{}</s>\n"),
    "deepseek": ("<｜User｜>{}<｜Assistant｜>", "{}"),
    "vicuna": ("A chat. USER: {} ASSISTANT:", " {}</s>"),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue_is_cut_at_the_last_turn_that_both_share(name):
    asks, says = DIALOGUES[name]
    first = asks.format("How old is the sun?")
    think, thought = says.format("I think 4.6"), says.format("I thought nobody")
    assert split_texts(first + think, first + thought) == (len(first), "dialogue")
    # The second of two turns; and the first, where the users' second turns differ.
    both = first + says.format("old") + asks.format("And the moon?")
    assert split_texts(both + think, both + thought) == (len(both), "dialogue")
    end, _ = split_texts(
        both + think, first + says.format("old") + asks.format("And Mars?") + think
    )
    assert end == len(first)


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue_that_shares_no_turn_is_kept_whole(name):
    asks, says = DIALOGUES[name]
    one, other = (asks.format(text) + says.format("x") for text in ("How old?", "How far?"))
    assert split_texts(one, other) == (0, "dialogue")
    # A reply that is empty in one of them leaves no place to cut.
    if not says.format("").strip():
        assert split_texts(asks.format("q") + says.format("x"), asks.format("q"))[0] == 0


def test_every_style_is_in_the_table():
    found = {
        next(i for i, style in enumerate(STYLES) if style.assistant.search(asks))
        for asks, _ in DIALOGUES.values()
    }
    # <|prompter|> shares the assistant's marker with <|user|>; Q: and A: are letters.
    assert set(range(len(STYLES))) - found == {4, 10}
    assert split_texts("<|prompter|>q<|assistant|>ab", "<|prompter|>q<|assistant|>ac")[0] == 26
    assert split_texts("Q: x\nA: ab", "Q: x\nA: ac")[0] == 7


@given(
    st.lists(st.sampled_from([USER, FOUR, FIVE])),
    *[st.lists(st.sampled_from([USER, FOUR, FIVE]))] * 2,
)
def test_a_conversation_is_cut_after_a_shared_turn_that_is_not_the_assistants(shared, one, other):
    chosen, rejected = shared + one, shared + other
    turns = shared_turns(chosen, rejected)
    end = end_of_prompt(turns)
    assert chosen[:end] == rejected[:end]
    assert end == 0 or chosen[end - 1] == USER
    assert end == 0 or (chosen[end:] and rejected[end:])
    assert USER not in turns[end:]


def test_messages_as_json_and_what_is_only_like_them():
    for value in ([USER, FOUR], [{"from": "human", "value": "q"}], [FOUR]):
        assert messages_in(f" {json.dumps(value, indent=1)}\n") == value
    assert messages_in(json.dumps(FOUR)) == [FOUR]
    for text in (
        "hello",
        "",
        "[]",
        "[1, 2]",
        '{"role": "user"',
        '{"value": 3}',
        "{'value': x}",
        '[{"role": "admin", "content": "root"}]',
        '[{"role": "user", "name": "x"}]',
        '[{"value": cut',
    ):
        assert messages_in(text) is None
    for text in (str([USER]), '[{"role": "user", "content": "cut'):
        with pytest.raises(MalformedRow, match="list of messages, but no JSON"):
            messages_in(text)


def test_messages_of_sharegpt_and_entries_that_say_nothing():
    theirs = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "2 + 2?"},
        {"from": "gpt", "value": "4"},
    ]
    assert to_messages("x", theirs) == [{"role": "system", "content": "s"}, USER, FOUR]
    assert to_messages("x", [USER | {"name": None, "tool_calls": [], "weight": ""}]) == [USER]
    with pytest.raises(MalformedRow, match="x has a message of an unknown role"):
        to_messages("x", [{"from": "observation", "value": "s"}])
