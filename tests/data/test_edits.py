"""Which tokens an edit marks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from codepmp_jax.data.edits import changed_lines, changed_tokens


def ids(text):
    """A token a character."""
    return np.array([ord(char) for char in text], np.int32)


def marked(chosen, rejected, with_text=False):
    """The marked places of both, of tokens that are characters."""
    pieces = (list(chosen), list(rejected)) if with_text else None
    return tuple(
        np.flatnonzero(marks).tolist()
        for marks in changed_tokens(ids(chosen), ids(rejected), pieces)
    )


def test_a_worked_example():
    assert marked("axcde", "abcd") == ([1, 4], [1])


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("abc", "abc", ([], [])),
        ("ac", "abc", ([], [1])),
        ("abc", "ac", ([1], [1])),
        ("abc$", "ab$", ([2], [2])),
    ],
    ids=["equal", "deleted", "put in before c", "put in before the end"],
)
def test_edits(chosen, rejected, expected):
    assert marked(chosen, rejected) == expected


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_what_is_not_marked_is_common_and_the_edits_make_chosen(chosen, rejected):
    new, old = changed_tokens(ids(chosen), ids(rejected))
    edits = Levenshtein.editops(rejected, chosen)
    assert edits.apply(rejected, chosen) == chosen
    kept = "".join(char for char, mark in zip(chosen, new, strict=True) if not mark)
    rest = iter(rejected)
    assert all(char in rest for char in kept)
    assert (new.any() or old.any()) == (chosen != rejected)


@pytest.mark.parametrize(
    ("chosen", "rejected", "counts"),
    [
        ("x = 1\ny = 2\n", "x = 1\n# why\ny = 2\n", False),
        ("x = 1\n\n\ny = 2\n", "x = 1\ny = 2\n", False),
        ("x = 1\n// a\n", "x = 1\n// b\n", False),
        ("x = 1\n", "x = 2\n", True),
        ("if a:\n    x = 1\n", "if a:\nx = 1\n", True),
        ("x = 1  # a\n", "x = 1  # b\n", True),
    ],
    ids=["comment", "blank lines", "other comment", "code", "indentation", "behind code"],
)
def test_comments_and_blank_lines_carry_nothing(chosen, rejected, counts):
    new, old = marked(chosen, rejected, with_text=True)
    assert bool(new or old) == counts


def test_lines_outside_the_longest_common_subsequence():
    chosen = ["a\n", "b", "\n", "c\n", "d"]
    rejected = ["a\n", "x", "\n", "c\n", "d", "e"]
    new, old = changed_lines((chosen, rejected))
    assert new.tolist() == [False, True, True, False, True]
    assert old.tolist() == [False, True, True, False, True, True]
    assert not any(map(np.any, changed_lines((chosen, chosen))))


def test_a_token_across_two_lines_is_of_both():
    new, old = changed_lines((["a", "\nb"], ["a", "\nc"]))
    assert new.tolist() == old.tolist() == [False, True]
