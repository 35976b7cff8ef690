"""The assistant's turns in what chat templates write, and the date that they write."""

import datetime
import json

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.text import conversations
from codepmp_jax.text.conversations import compiled, dated, writes_date

# In the manner of the templates that models come with; special tokens shortened.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
# DeepSeek R1: the generation prompt opens the thought, which earlier answers lose.
R1 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<U>' + m.content }}{% else %}"
    "{{ '<A>' + m.content.split('</think>')[-1] + '<END>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<A><think>\n' }}{% endif %}"
)
# Qwen3: only answers after the last question have a thought.
QWEN3 = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% set content = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last %}"
    "{{ '<think>\n' + (m.content.split('</think>')[0].split('<think>')[-1].strip('\n') "
    "if '</think>' in m.content else '') + '\n</think>\n\n' }}{% endif %}{{ content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Llama 2 and Mistral: no generation prompt, a space before the answer.
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' </s>' }}{% endif %}{% endfor %}"
)
# Mistral puts the system message into the last question: earlier ones change with each turn.
SYSTEM_LAST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' }}{% if loop.index0 == messages | length - 1 "
    "or loop.index0 == messages | length - 2 %}{{ 'SYS ' }}{% endif %}{{ m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<s>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<e>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>model\n' }}{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
# The generation prompt after every conversation, asked for or not.
# Phi 3: an EOS after the last message only, which begins like a role's header.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}"
)
ALWAYS_OPEN = CHATML.replace(
    "{% if add_generation_prompt %}", "{% if true or add_generation_prompt %}"
)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def answer(content: str, role: str = "assistant") -> dict[str, str]:
    return {"role": role, "content": content}


def written(template: str, prompt, response) -> conversations.Conversation:
    def render(messages, add_generation_prompt):
        return compiled(template).render(
            messages=messages, add_generation_prompt=add_generation_prompt
        )

    try:
        opening = render(prompt, True)
    except jinja2.TemplateError:
        opening = None
    has_opening = "add_generation_prompt" in template
    return conversations.write(render, prompt, response, opening, has_opening)


def turns(found: conversations.Conversation) -> list[str]:
    """The texts between the gaps."""
    edges = [found.response_start, *(i for gap in found.gaps for i in gap), len(found.text)]
    texts = [found.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [text for text in texts if text]


TWO = [answer("a1"), user("q2"), answer("a2")]


@pytest.mark.parametrize(
    ("template", "response", "expected"),
    [
        (CHATML, [answer("a1")], ["a1<|im_end|>\n"]),
        (CHATML, TWO, ["a1<|im_end|>\n", "a2<|im_end|>\n"]),
        (CHATML, [*TWO, user("q3")], ["a1<|im_end|>\n", "a2<|im_end|>\n"]),
        (CHATML, [user("q2"), answer("a2")], ["a2<|im_end|>\n"]),
        (
            CHATML,
            [answer("a1"), answer("tool says", "tool"), answer("a2")],
            ["a1<|im_end|>\n", "a2<|im_end|>\n"],
        ),
        (
            CHATML,
            [answer("a1", "gpt"), user("q2"), answer("a2", "gpt")],
            ["a1<|im_end|>\n", "a2<|im_end|>\n"],
        ),
        (
            CHATML,
            [answer("\n <|im_start|>assistant\n")],
            ["\n <|im_start|>assistant\n<|im_end|>\n"],
        ),
        (CHATML, [answer(""), user("a1"), answer("")], ["<|im_end|>\n", "<|im_end|>\n"]),
        # The answer begins like the end of the generation prompt, with it, or not at all like it.
        (THINKING, [answer("<table>")], ["<table><|im_end|>\n"]),
        (THINKING, [answer("<think> no")], ["<think> no<|im_end|>\n"]),
        (THINKING, [answer("<think>\nso</think>a")], ["so</think>a<|im_end|>\n"]),
        (THINKING, [answer("a1")], ["a1<|im_end|>\n"]),
        (THINKING, [answer("<")], ["<<|im_end|>\n"]),
        (
            THINKING,
            [answer("<tab"), user("<"), answer("<th")],
            ["<tab<|im_end|>\n", "<th<|im_end|>\n"],
        ),
        (R1, [answer("<table> x")], ["<table> x<END>"]),
        (R1, [answer("<think>\nso</think><t")], ["<t<END>"]),
        (R1, TWO, ["a1<END>", "a2<END>"]),
        (QWEN3, [answer("a1")], ["<think>\n\n</think>\n\na1<|im_end|>\n"]),
        (
            QWEN3,
            [answer("<think>\nso\n</think>\n\na1")],
            ["<think>\nso\n</think>\n\na1<|im_end|>\n"],
        ),
        (QWEN3, TWO, ["a1<|im_end|>\n", "<think>\n\n</think>\n\na2<|im_end|>\n"]),
        (LLAMA2, TWO, [" a1 </s>", " a2 </s>"]),
        (SYSTEM_LAST, TWO, [" a1</s>", " a2</s>"]),
        (GEMMA, [answer(" a1 "), user("q2"), answer("a2\n")], ["a1<e>\n", "a2<e>\n"]),
        (PLAIN, TWO, [" a1\n", " a2\n"]),
        (PHI3, TWO, ["a1<|end|>\n", "a2<|end|>\n<|endoftext|>"]),
        (
            ALWAYS_OPEN,
            TWO,
            ["a1<|im_end|>\n", "a2<|im_end|>\n<|im_start|>assistant\n"],
        ),
    ],
)
def test_turns_of_the_assistant(template, response, expected):
    found = written(template, [user("q1")], response)
    assert found.are_turns_known
    assert turns(found) == expected


def test_the_prompt_may_be_empty_or_hold_answers():
    assert turns(written(CHATML, [], [answer("a1"), user("q")])) == ["a1<|im_end|>\n"]
    prompt = [user("q1"), answer("a1"), user("q2")]
    assert turns(written(CHATML, prompt, [answer("a2")])) == ["a2<|im_end|>\n"]
    # Begun by the assistant in the prompt.
    found = written(CHATML, [user("q1"), answer("a1")], [answer("a2")])
    assert turns(found) == ["a2<|im_end|>\n"]


@pytest.mark.parametrize(
    ("template", "response"),
    [
        # No message of the assistant's.
        (CHATML, [user("q2")]),
        (CHATML, [answer("a", "critic")]),
        # The content twice; not at all, without a generation prompt to go by.
        ("{% for m in messages %}{{ m.content + m.content }}{% endfor %}", [answer("a1")]),
        ("{% for m in messages %}{{ m.content | length }}{% endfor %}", [answer("a1")]),
    ],
)
def test_a_response_whose_turns_are_not_found_is_kept_whole(template, response):
    found = written(template, [user("q1")], response)
    assert not found.are_turns_known
    assert found.gaps == ()
    before = compiled(template).render(messages=[user("q1")])
    assert found.text[: found.response_start] == before


CONTENTS = st.text(alphabet="<>think \nUA[]/INS:a", max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3), st.integers(0, 2))
def test_turns_hold_the_answers_and_no_question(rounds, before):
    """With marks around each content, which no template changes."""
    before = min(before, len(rounds) - 1)
    messages = [
        message
        for i, (asked, said) in enumerate(rounds)
        for message in (user(f"({asked}Q{i})"), answer(f"{said}({said}R{i})"))
    ]
    cut = 2 * before + 1
    for template in (CHATML, THINKING, LLAMA2, GEMMA, SYSTEM_LAST, PLAIN, PHI3):
        found = written(template, messages[:cut], messages[cut:])
        assert found.are_turns_known
        texts = turns(found)
        assert len(texts) == len(rounds) - before
        for i, text in enumerate(texts, start=before):
            assert f"R{i})" in text
            assert f"Q{i})" not in text
            # Whole, but for what the generation prompt writes of it and what the template trims.
            said = messages[2 * i + 1]["content"]
            assert said in text or said.strip() in text or said.startswith("<think>\n")


# --- the date -------------------------------------------------------------------------------------

LLAMA31 = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}"
    "{{ 'Today Date: ' + date_string + '\n' }}" + CHATML
)
DAY = datetime.date(2024, 7, 6)


def text_of(template: str) -> str:
    return compiled(template).render(messages=[], add_generation_prompt=False)


def test_a_dated_template_writes_that_day():
    assert text_of(dated(LLAMA31, DAY)) == "Today Date: 06 Jul 2024\n"
    directives = "%a %A %w %d %-d %b %B %m %-m %y %Y %H %-H %I %M %S %j %p %F %T %e %U %W %x %D"
    for pattern in (directives, "%%d %%%d %", "no", "100 %", 'it\'s \\ "%d"'):
        template = "{{ strftime_now(" + json.dumps(pattern) + ") }}"
        expected = datetime.datetime(2024, 7, 6).strftime(pattern)
        assert text_of(dated(template, DAY)) == expected, pattern


@pytest.mark.parametrize("start", ["", "\n", "  ", "\n\n  ", "   {% if true %}\n  x{% endif %}"])
def test_a_date_changes_nothing_else(start):
    template = start + "{{ strftime_now('') }}{% for m in messages %}\n  {{ m }}\n{% endfor %}"
    assert text_of(dated(template, DAY)) == text_of(template)


def test_a_template_is_dated_once_or_anew():
    assert writes_date(LLAMA31)
    assert not writes_date(CHATML)
    assert not writes_date(None)
    once = dated(LLAMA31, DAY)
    assert not writes_date(once)
    assert dated(once, DAY) == once
    assert dated(once, datetime.date(2025, 1, 2)) == dated(LLAMA31, datetime.date(2025, 1, 2))
    assert dated(CHATML, DAY) == CHATML
