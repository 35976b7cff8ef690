"""Lexical tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.synthesis.writers import lexer


@given(st.text(max_size=80))
def test_tokens_join_to_any_text(text):
    assert "".join(token for _, token in lexer.split(text)) == text


@pytest.mark.parametrize(
    ("code", "tokens"),
    [
        (
            'if x_1 >= 0x1F:\n    go("a b")  # c',
            [
                ("word", "if"),
                ("word", " x_1"),
                ("sign", " >="),
                ("number", " 0x1F"),
                ("sign", ":"),
                ("layout", "\n    "),
                ("word", "go"),
                ("frame", "("),
                ("frame", '"'),
                ("word", "a"),
                ("word", " b"),
                ("frame", '"'),
                ("frame", ")"),
                ("space", " "),
                ("frame", " #"),
                ("word", " c"),
            ],
        ),
        (
            "a\n\n\tb **= 2",
            [
                ("word", "a"),
                ("layout", "\n\n\t"),
                ("word", "b"),
                ("sign", " **="),
                ("number", " 2"),
            ],
        ),
    ],
)
def test_code_falls_into_words_signs_and_frame(code, tokens):
    assert lexer.split(code) == tokens
