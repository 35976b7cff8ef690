"""First places of equal keys."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.corpus import merge


@given(st.lists(st.integers(0, 20), max_size=60))
def test_first_places_are_those_of_a_dictionary(keys):
    first: dict[int, int] = {}
    expected = [first.setdefault(key, place) for place, key in enumerate(keys)]
    assert merge._first_places(np.array(keys, np.uint64)).tolist() == expected
