"""What the report says of the pairs of a split."""

from __future__ import annotations

import pytest

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.rm_data.tally import Split

LINE = "def double(x): return x + x  # twice\n"


@pytest.mark.parametrize(
    ("chosen", "rejected", "is_nearly_equal"),
    [
        (LINE, LINE.replace("x + x", "x - x"), True),
        (LINE, f"{LINE}pass  # done", False),
        (f"{LINE * 9}pass", LINE * 9, True),
        # Two slips far apart: all between them counts.
        (LINE, LINE.replace("double", "triple").replace("twice", "once"), False),
        ("yes", "no", False),
        ("aaaa", "aaaaa", False),
        ("a" * 20, "a" * 21, True),
    ],
)
def test_pairs_that_differ_in_one_small_place_are_nearly_equal(chosen, rejected, is_nearly_equal):
    for pair in ((chosen, rejected), (rejected, chosen)):
        split = Split()
        split.add(PreferencePair("a", "prompt", *pair))
        split.add(PreferencePair("b", "prompt", "one thing", "another"))
        assert split.to_json()["nearly_equal"] == 0.5 * is_nearly_equal
