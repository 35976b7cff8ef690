"""First places, buckets, the order of duplicates."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.corpus import merge


@given(st.lists(st.integers(0, 20), max_size=60))
def test_first_places_are_those_of_a_dictionary(keys):
    first: dict[int, int] = {}
    expected = [first.setdefault(key, place) for place, key in enumerate(keys)]
    assert merge._first_places(np.array(keys, np.uint64)).tolist() == expected


def test_buckets_give_back_what_they_got_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "_BUFFER_BYTES", 1000)
    buckets = merge.Buckets(tmp_path / "buckets")
    rows = [(hashlib.md5(b"%d" % i).digest(), b"r%d" % i * (i % 50)) for i in range(300)]
    for i, (key, record) in enumerate(rows):
        buckets.add(f"b{i % 3}", key, record)
    buckets.flush()
    for number in range(3):
        assert buckets.read(f"b{number}") == sorted(rows[number::3])
    assert buckets.read("none") == []


def test_buckets_begin_empty(tmp_path):
    first = merge.Buckets(tmp_path / "buckets")
    first.add("b", bytes(16), b"left by a killed run")
    first.flush()
    assert merge.Buckets(tmp_path / "buckets").read("b") == []
