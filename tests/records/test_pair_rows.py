"""Rows of preference pairs; their formats and malformed rows are tested by import (tests/data/test_interchange.py)."""

from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.records.pair_rows import extract_prompt

USER = {"role": "user", "content": "2 + 2?"}
FOUR = {"role": "assistant", "content": "4"}


def trl_extract_prompt(chosen, rejected):
    """TRL's rule as its documentation states it, for two texts that differ somewhere in common length."""
    index = 0
    while chosen[index] == rejected[index]:
        index += 1
    index -= int(index > 0 and chosen[index - 1] == " ")
    return chosen[:index], chosen[index:], rejected[index:]


@given(st.text("ab "), st.text("ab "), st.text("ab "))
def test_implicit_prompt_by_trls_rule(prompt, chosen, rejected):
    parts = extract_prompt(f"{prompt}x{chosen}", f"{prompt}y{rejected}")
    assert parts == trl_extract_prompt(f"{prompt}x{chosen}", f"{prompt}y{rejected}")
    assert parts[0] + parts[1] == f"{prompt}x{chosen}"
    assert parts[0] + parts[2] == f"{prompt}y{rejected}"


def test_implicit_prompt_leaves_something_to_the_responses():
    assert extract_prompt("abc", "abcd") == ("ab", "c", "cd")
    assert extract_prompt("a ", "a b") == ("a", " ", " b")
    assert extract_prompt("same", "same") == ("sam", "e", "e")
    assert extract_prompt("x ", "y ") == ("", "x ", "y ")
    assert extract_prompt("", "y") == ("", "", "y")
    assert extract_prompt([USER], [USER, FOUR]) == ([], [USER], [USER, FOUR])
