"""Buckets: what goes in comes out, in order."""

import hashlib

from codepmp_jax.files import buckets as module
from codepmp_jax.files.buckets import Buckets


def test_buckets_give_back_what_they_got_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BUFFER_BYTES", 1000)
    buckets = Buckets(tmp_path / "buckets")
    rows = [(hashlib.md5(b"%d" % i).digest(), b"r%d" % i * (i % 50)) for i in range(300)]
    for i, (key, record) in enumerate(rows):
        buckets.add(f"b{i % 3}", key, record)
    buckets.flush()
    for number in range(3):
        assert buckets.read(f"b{number}") == sorted(rows[number::3])
    assert buckets.read("none") == []


def test_buckets_begin_empty(tmp_path):
    first = Buckets(tmp_path / "buckets")
    first.add("b", bytes(16), b"left by a killed run")
    first.flush()
    assert Buckets(tmp_path / "buckets").read("b") == []
