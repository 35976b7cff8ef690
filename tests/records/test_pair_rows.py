"""What the columns of a row are read as. Malformed rows are tested by import (tests/data/test_interchange.py)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.records import pair_rows
from codepmp_jax.records.pair_rows import (
    BLANK,
    COLUMN,
    FROM_JSON,
    FROM_TEXT,
    KEPT_REPEATED,
    NO_PROMPT,
    REPEATED,
    SHARED_DIALOGUE,
    SHARED_TURNS,
    SHARED_WORDS,
    Findings,
    parse_row,
)
from codepmp_jax.records.row_files import MalformedRow


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def parsed(row):
    found = parse_row(row, {})
    texts = (found.pair.prompt, found.pair.chosen, found.pair.rejected)
    if found.pair.is_conversation:
        texts = tuple(map(json.loads, texts))
    return texts, found


REPLIES = {"chosen": "Paris.", "rejected": "Lyon."}
TURNS = {"chosen": [says("Paris.")], "rejected": [says("Lyon.")]}
WHOLE = {"chosen": [user("q"), says("good")], "rejected": [user("q"), says("bad")]}
HH = "\n\nHuman: How old is the sun?\n\nAssistant:"

# Row -> prompt, chosen, rejected, where the prompt is from, columns not read, remarks.
TEXTS = {
    "orca": (
        REPLIES | {"system": "Be terse.", "question": "Capital?"},
        ("Be terse.\n\nCapital?", "Paris.", "Lyon.", COLUMN, [], set()),
    ),
    "orca without system": (
        REPLIES | {"system": "", "question": "Capital?"},
        ("Capital?", "Paris.", "Lyon.", COLUMN, [], set()),
    ),
    "alpaca": (
        REPLIES | {"instruction": "Name it.", "input": "France", "output": ["x"]},
        ("Name it.\nFrance", "Paris.", "Lyon.", COLUMN, ["output"], set()),
    ),
    "distilabel": (
        REPLIES | {"input": "Capital?", "order": ["a"], "rating": [9.0], "status": None},
        ("Capital?", "Paris.", "Lyon.", COLUMN, ["order", "rating"], set()),
    ),
    "stack exchange": (
        {"qid": 4, "question": "Capital?", "response_j": "Paris.", "response_k": "Lyon."},
        ("Capital?", "Paris.", "Lyon.", COLUMN, ["qid"], set()),
    ),
    "codepmp": (
        {"query": "Capital?", "better": "Paris.", "worse": "Lyon."},
        ("Capital?", "Paris.", "Lyon.", COLUMN, [], set()),
    ),
    "history as text": (
        REPLIES | {"history": "Capital?", "post_id": "x"},
        ("Capital?", "Paris.", "Lyon.", COLUMN, ["post_id"], set()),
    ),
    "another question is named": (
        REPLIES
        | {"prompt": "Capital?", "question": "Town?", "input": "x", "margin": 1, "subset": "s"},
        ("Capital?", "Paris.", "Lyon.", COLUMN, ["question", "input"], set()),
    ),
    "a blank prompt gives way": (
        REPLIES | {"prompt": "", "question": "Capital?"},
        ("Capital?", "Paris.", "Lyon.", COLUMN, [], set()),
    ),
    "null prompt": (
        {"prompt": None, "chosen": "It is 4", "rejected": "It is 5"},
        ("", "It is 4", "It is 5", NO_PROMPT, [], {BLANK}),
    ),
    "null question": (
        {"question": None, "chosen": "It is 4", "rejected": "It is 5"},
        ("", "It is 4", "It is 5", NO_PROMPT, [], {BLANK}),
    ),
    "null prompt of a dialogue": (
        {"prompt": None, "chosen": f"{HH} I think", "rejected": f"{HH} I thought"},
        (HH, " I think", " I thought", SHARED_DIALOGUE, [], {BLANK}),
    ),
    "system alone": (
        REPLIES | {"system_prompt": "Be terse."},
        ("Be terse.", "Paris.", "Lyon.", COLUMN, [], set()),
    ),
    "implicit": (
        {"chosen": "It is 4", "rejected": "It is 5"},
        ("It is", " 4", " 5", SHARED_WORDS, [], set()),
    ),
    "whole dialogues behind their prompt": (
        {"prompt": f"{HH} ", "chosen": f"{HH} 4.6", "rejected": f"{HH} old"},
        (HH, " 4.6", " old", COLUMN, [], {REPEATED}),
    ),
    "code that begins with the prompt": (
        {"prompt": "def f():", "chosen": "def f(): return 1", "rejected": "def f(): pass"},
        ("def f():", "def f(): return 1", "def f(): pass", COLUMN, [], {KEPT_REPEATED}),
    ),
    "metadata of a question's name": (
        REPLIES | {"prompt": None, "question": {"id": 3}, "input": 5, "context": ["a", "b"]},
        ("", "Paris.", "Lyon.", NO_PROMPT, ["question", "input", "context"], {BLANK}),
    ),
}

CONVERSATIONS = {
    "string prompt": (
        TURNS | {"prompt": "Capital?"},
        ([user("Capital?")], *TURNS.values(), COLUMN, [], {FROM_TEXT}),
    ),
    "string replies": (
        REPLIES | {"prompt": [user("Capital?")]},
        ([user("Capital?")], *TURNS.values(), COLUMN, [], {FROM_TEXT}),
    ),
    "replies that are one message": (
        {"prompt": [user("Capital?")], "chosen": says("Paris."), "rejected": says("Lyon.")},
        ([user("Capital?")], *TURNS.values(), COLUMN, [], set()),
    ),
    "null prompt and replies that begin alike": (
        {"prompt": None, "chosen": [says("a"), says("b")], "rejected": [says("a"), says("c")]},
        ([], [says("a"), says("b")], [says("a"), says("c")], NO_PROMPT, [], {BLANK}),
    ),
    "ultrafeedback": (
        WHOLE | {"prompt": "q", "messages": WHOLE["chosen"], "score_chosen": 8.0},
        (
            [user("q")],
            [says("good")],
            [says("bad")],
            SHARED_TURNS,
            ["messages", "score_chosen"],
            set(),
        ),
    ),
    "rendered prompt": (
        WHOLE | {"prompt": "\n\nHuman: q\n\nAssistant:"},
        ([user("q")], [says("good")], [says("bad")], SHARED_TURNS, [], set()),
    ),
    "another prompt": (
        WHOLE | {"prompt": "not the question"},
        ([user("q")], [says("good")], [says("bad")], SHARED_TURNS, ["prompt"], set()),
    ),
    "a prompt that holds the question and more": (
        WHOLE | {"prompt": "a quick brown fox"},
        ([user("q")], [says("good")], [says("bad")], SHARED_TURNS, ["prompt"], set()),
    ),
    "prompt and whole conversations": (
        WHOLE | {"prompt": [user(" q\n")]},
        ([user("q")], [says("good")], [says("bad")], COLUMN, [], {REPEATED}),
    ),
    "system in the prompt alone": (
        WHOLE | {"prompt": [system("s"), user("q")]},
        ([system("s"), user("q")], [says("good")], [says("bad")], COLUMN, [], {REPEATED}),
    ),
    "system in the conversations alone": (
        {
            "prompt": [user("q")],
            "chosen": [system("s"), user("q"), says("good")],
            "rejected": [system("s"), user("q"), says("bad")],
        },
        ([system("s"), user("q")], [says("good")], [says("bad")], COLUMN, [], {REPEATED}),
    ),
    "system column beside conversations": (
        WHOLE | {"system": "s"},
        ([system("s"), user("q")], [says("good")], [says("bad")], SHARED_TURNS, [], set()),
    ),
    "the same system twice": (
        TURNS | {"system": "s", "prompt": [system("s"), user("q")]},
        ([system("s"), user("q")], *TURNS.values(), COLUMN, [], set()),
    ),
    "another system": (
        TURNS | {"system": "other", "prompt": [system("s"), user("q")]},
        ([system("s"), user("q")], *TURNS.values(), COLUMN, ["system"], set()),
    ),
    "history of pairs": (
        REPLIES | {"instruction": "And France?", "history": [["Spain?", "Madrid."]], "system": "s"},
        (
            [system("s"), user("Spain?"), says("Madrid."), user("And France?")],
            *TURNS.values(),
            COLUMN,
            [],
            {FROM_TEXT},
        ),
    ),
    "history without a question": (
        REPLIES | {"history": [["Spain?", "Madrid."]]},
        ([user("Spain?"), says("Madrid.")], *TURNS.values(), COLUMN, [], {FROM_TEXT}),
    ),
    "history that is empty": (
        REPLIES | {"instruction": "France?", "history": []},
        ([user("France?")], *TURNS.values(), COLUMN, [], {FROM_TEXT}),
    ),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        ([user("q")], [says("good")], [says("bad")], COLUMN, [], set()),
    ),
    "json": (
        {name: json.dumps(value) for name, value in WHOLE.items()},
        ([user("q")], [says("good")], [says("bad")], SHARED_TURNS, [], {FROM_JSON}),
    ),
    "tools": (
        TURNS
        | {
            "prompt": [user("q")],
            "tools": [{"type": "function"}],
            "chat_template_kwargs": {"a": 0},
        },
        ([user("q")], *TURNS.values(), COLUMN, ["tools", "chat_template_kwargs"], set()),
    ),
    "answers that differ from the first turn on": (
        {
            "chosen": [user("q"), says("a"), user("more"), says("good")],
            "rejected": [user("q"), says("a"), user("less"), says("bad")],
        },
        (
            [user("q")],
            [says("a"), user("more"), says("good")],
            [says("a"), user("less"), says("bad")],
            SHARED_TURNS,
            [],
            set(),
        ),
    ),
}


@pytest.mark.parametrize("name", TEXTS | CONVERSATIONS)
def test_what_a_row_is_read_as(name):
    row, expected = (TEXTS | CONVERSATIONS)[name]
    texts, found = parsed(row)
    assert (*texts, found.prompt_from, found.not_read, found.remarks) == expected
    assert found.pair.is_conversation == (name in CONVERSATIONS)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (WHOLE | {"prompt": [user("other")]}, "a reply begins with another user turn"),
        (
            TURNS | WHOLE | {"prompt": "q", "rejected": [says("bad")]},
            "a reply begins with another user turn",
        ),
        (WHOLE | {"prompt": [user("q"), says("good")]}, "the replies repeat a part of the prompt"),
        (REPLIES | {"prompt": "q", "history": [["a", "b", "c"]]}, "history has a message without"),
        (
            TURNS | {"prompt": "[{'role': 'user', 'content': 'q'}]"},
            "text is a list of messages, but no JSON",
        ),
        ({"question": "q", "response_j": "a"}, "rejected is missing"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "rejected is null"),
        (REPLIES | {"prompt": "q", "margin": 1e39}, "margin is no finite number"),
        (REPLIES | {"prompt": "q", "margin": -(10**400)}, "margin is no finite number"),
        (REPLIES | {"prompt": "q", "margin": True}, "margin is no finite number"),
    ],
)
def test_what_cannot_be_meant_is_malformed(row, reason):
    with pytest.raises(MalformedRow) as error:
        parse_row(row, {})
    assert error.value.reason.startswith(reason)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("margin", [0, -1, 3.4e38, -3.4e38, 10**38, 1e-50, None])
def test_margins_that_float32_holds(margin):
    assert parse_row(REPLIES | {"margin": margin}, {}).pair.margin == float(margin or 0)


WORDS = st.text("ab:\n ", max_size=6)


@given(
    st.fixed_dictionaries(
        {"chosen": WORDS, "rejected": WORDS},
        optional={
            name: st.none() | WORDS for name in (*pair_rows.QUESTIONS, *pair_rows.SYSTEM, "source")
        },
    )
)
def test_every_text_of_a_row_is_in_the_pair_or_counted(row):
    if not (row["chosen"] and row["rejected"]):
        return
    (prompt, chosen, rejected), found = parsed(row)
    for name, value in row.items():
        if value and value.strip() and name not in found.not_read:
            assert value in f"{prompt}{chosen}" or value in f"{prompt}{rejected}", name
    assert (found.prompt_from == NO_PROMPT) == (prompt == "")


TURN = st.builds(
    lambda role, text: {"role": role, "content": text},
    st.sampled_from(["system", "user", "assistant"]),
    st.sampled_from("abc"),
)


@given(
    st.lists(TURN, max_size=3) | st.sampled_from("abcd"),
    st.lists(TURN, min_size=1, max_size=4),
    st.lists(TURN, min_size=1, max_size=4),
)
def test_every_turn_of_a_row_is_in_the_pair(prompt, chosen, rejected):
    """Once: no turn of a reply is lost, nor is one there twice that stood once in the reply and once in the prompt."""
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    try:
        texts, found = parsed(row)
    except MalformedRow:
        return
    start: Any = texts[0]
    for whole, reply in zip((chosen, rejected), texts[1:], strict=True):
        assert whole[len(whole) - len(reply) :] == reply
        taken = whole[: len(whole) - len(reply)]
        assert start[len(start) - len(taken) :] == taken or start[: len(taken)] == taken
    if isinstance(prompt, str):
        assert any(turn["content"] == prompt for turn in start) or "prompt" in found.not_read
    else:
        assert all(turn in start for turn in prompt)
        assert len(start) <= len(prompt) + max(len(chosen), len(rejected))


def test_findings_say_what_a_reader_has_to_know():
    findings = Findings()
    findings.add(parse_row(REPLIES | {"prompt": "q"}, {}))
    assert findings.lines() == []
    findings.add(parse_row(TURNS | {"prompt": "q", "tools": [1]}, {}))
    findings.add(parse_row(REPLIES | {"prompt": None, "tools": [2], "source": "x"}, {}))
    assert findings.lines() == [
        "columns not read (rows): tools 2, source 1",
        f"prompts (rows): {COLUMN} 2, {NO_PROMPT} 1",
        f"{FROM_TEXT}: 1 row(s)",
        f"{BLANK}: 1 row(s)",
        "kinds are mixed (rows): texts 2, conversations 1",
    ]
    assert findings.to_json()["columns_not_read"] == {"tools": 2, "source": 1}
