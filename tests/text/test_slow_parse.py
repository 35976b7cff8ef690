"""A parser's time is bounded."""

import time

import pytest

from codepmp_jax.text import languages
from codepmp_jax.text.definitions import definitions

# Brackets that never close: Perl's parser looks for their ends again and again.
UNBALANCED = ("ab(cd(" * 15 + "\n") * 330


def test_a_text_that_takes_long_is_given_up():
    started = time.thread_time()
    with pytest.raises(languages.SlowParseError, match=r"\d+ bytes of perl"):
        languages.parse(UNBALANCED.encode(), "perl")
    assert time.thread_time() - started < 2 * languages._PARSE_SECONDS


def test_a_text_that_takes_long_is_not_parsable_and_defines_nothing(monkeypatch):
    monkeypatch.setattr(languages, "_PARSE_SECONDS", 0.02)
    assert languages.is_parsable(UNBALANCED, "perl") is False
    with pytest.raises(languages.SlowParseError):
        list(definitions(UNBALANCED, "perl"))


def test_large_programs_are_parsed():
    code = "".join(f"func f{i}(x int) int {{\n\treturn x + {i}\n}}\n\n" for i in range(5000))
    assert len(code) > 200_000
    assert languages.is_parsable(code, "go")
    assert len(list(definitions(code, "go"))) == 5000
