"""Which record of which source comes next, and that hosts, workers and restarts do not change it."""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.config.mixture import proportions, sources_of
from codepmp_jax.data import loader, mixture
from codepmp_jax.data.batch import concatenate
from codepmp_jax.data.documents import Documents
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.loader import Loader
from codepmp_jax.data.mixture import Drawn, Mixture, open_records
from codepmp_jax.records.schema import PreferencePair, SourceFile, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer

CONFIG = DataConfig(
    max_length=24,
    layout="shared",
    row_length=128,
    packing_window=8,
    num_streams=4,
    mixture=("a=A:2", "b=B:5", "c=C:3"),
)
WINDOW = 16


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Groups and windows far smaller than an epoch."""
    monkeypatch.setattr(loader, "GROUP_RECORDS", 6)
    monkeypatch.setattr(mixture, "WINDOW_RECORDS", WINDOW)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load("embedded")


def make_pairs(source: str, number: int, too_long: int = 5) -> list[PreferencePair]:
    """Pairs of a source, every fifth too long for 24 tokens."""
    rows = [
        (f"{source} {i}", "x" + " + y" * (20 if i % too_long == 3 else i % 3), f"-{i}")
        for i in range(number)
    ]
    return [PreferencePair(content_id(*row), *row) for row in rows]


PARTS = {"a": make_pairs("a", 23), "b": make_pairs("b", 7), "c": make_pairs("c", 11)}
SOURCE_OF = {pair.pair_id: name for name, pairs in PARTS.items() for pair in pairs}
MIXTURE = Mixture(PARTS, proportions(CONFIG.sources))


def numbered(sizes: list[int], weights: list[float]) -> Mixture:
    """A mixture of which the i-th record of the source s is s * 1000 + i."""
    parts = {
        str(s): [PreferencePair(str(s * 1000 + i), "", "", "") for i in range(size)]
        for s, size in enumerate(sizes)
    }
    entries = tuple(f"{s}=folder{s}:{weight}" for s, weight in enumerate(weights))
    return Mixture(parts, proportions(sources_of(entries)))


def drawn(stream: Any, numbers: Iterable[int]) -> list[Drawn]:
    """Records of a stream."""
    return [stream[i] for i in numbers]


def number_of(record: Drawn) -> int:
    return int(record.record.pair_id)


sizes_and_weights = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 30), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.1, 0.3, 1, 1.5, 2, 7, 20]), min_size=n, max_size=n),
    )
)


@settings(deadline=None, max_examples=60)
@given(
    sizes_and_weights,
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
)
def test_shares_follow_weights_and_epochs_are_whole(kinds, num_streams, shuffle, seed, windows):
    """Of each stream, at the ends of windows; and of each source over all streams."""
    mixed = numbered(*kinds)
    num_records = windows * WINDOW
    seen = {name: collections.Counter() for name in mixed.parts}
    for v in range(num_streams):
        stream = mixed.stream(v, num_streams, shuffle=shuffle, seed=seed)
        records = drawn(stream, range(num_records))
        counts = collections.Counter(record.source for record in records)
        for name, share in mixed.shares.items():
            bound = max(1, len(mixed.parts) - 1)
            assert abs(counts[name] - share * num_records) <= bound
        for record in records:
            seen[record.source][record.record.pair_id] += 1
    for name, size in mixed.sizes.items():
        # Every record has come as often as every other one, but for those of the epoch that is not over.
        total = sum(seen[name].values())
        times = [seen[name][pair.pair_id] for pair in mixed.parts[name]]
        assert sorted(set(times)) in (
            [[total // size]] if total % size == 0 else [[total // size, total // size + 1]]
        )


@settings(deadline=None, max_examples=20)
@given(sizes_and_weights, st.integers(1, 100))
def test_without_windows_the_shares_hold_at_every_record(kinds, num_records):
    mixed = numbered(*kinds)
    stream = mixed.stream(0, 1, shuffle=True, seed=1)
    counts = collections.Counter(one.source for one in drawn(stream, range(num_records)))
    for name, share in mixed.shares.items():
        assert abs(counts[name] - share * num_records) <= max(1, len(mixed.parts) - 1)


def test_each_source_has_an_order_of_its_own_which_others_do_not_change():
    def order(mixed: Mixture, seed: int, name: str) -> list[int]:
        stream = mixed.stream(0, 1, shuffle=True, seed=seed)
        records = drawn(stream, range(90))
        return [number_of(record) for record in records if record.source == name]

    two, three = numbered([9, 9], [1, 1]), numbered([9, 9, 9], [1, 2, 1])
    first, second = order(two, 0, "0"), order(two, 0, "1")
    assert [pair - 1000 for pair in second] != first
    assert first[:9] != first[9:18]
    assert order(three, 0, "0") == first[: len(order(three, 0, "0"))]
    assert order(two, 1, "0") != first


def test_without_shuffle_each_source_comes_in_file_order():
    stream = numbered([3, 4], [1, 2]).stream(0, 1, shuffle=False, seed=0)
    records = drawn(stream, range(12))
    numbers = {name: [number_of(one) for one in records if one.source == name] for name in "01"}
    assert numbers == {"0": [0, 1, 2, 0], "1": [*range(1000, 1004)] * 2}


def test_streams_are_not_in_step():
    """A batch of one row of each of eight streams is not of one source."""
    mixed = numbered([50, 50], [1, 1])
    streams = [drawn(mixed.stream(v, 8, shuffle=True, seed=0), range(64)) for v in range(8)]
    of_batches = [sum(one.source == "0" for one in batch) for batch in zip(*streams, strict=True)]
    assert np.mean([0 < number < 8 for number in of_batches]) > 0.9


def test_a_mixture_is_the_sequence_of_its_pairs():
    assert len(MIXTURE) == 41
    assert list(MIXTURE) == [pair for name in "abc" for pair in PARTS[name]]
    assert [SOURCE_OF[pair.pair_id] for pair in MIXTURE] == MIXTURE.sources
    with pytest.raises(IndexError):
        MIXTURE[41]


def take(pairs: Loader, num_batches: int) -> list[Any]:
    return [(next(pairs), pairs.last_record_ids) for _ in range(num_batches)]


def same(a, b) -> bool:
    return all(
        all(jax.tree.leaves(jax.tree.map(np.array_equal, x, y))) and ids == names
        for (x, ids), (y, names) in zip(a, b, strict=True)
    )


def test_batches_depend_neither_on_hosts_nor_on_workers_nor_on_restarts(tokenizer):
    def make(num_workers=0, **hosts) -> Loader:
        config = dataclasses.replace(CONFIG, num_workers=num_workers)
        return Loader(MIXTURE, tokenizer, config, batch_rows=8, seed=1, **hosts)

    whole = make()
    states, batches, counts = [whole.state()], [], [whole.counts]
    for _ in range(6):
        batches += take(whole, 1)
        states.append(whole.state())
        counts.append(whole.counts)
    hosts = [make(process_index=i, process_count=2) for i in range(2)]
    for expected in batches[:2]:
        parts = [take(host, 1)[0] for host in hosts]
        joined = concatenate([part for part, _ in parts]), [n for _, ids in parts for n in ids]
        assert same([joined], [expected])
    assert [state for host in hosts for state in host.state()] == states[2]
    for n in (0, 1, 3, 5):
        restored = make()
        restored.restore(json.loads(json.dumps(states[n])))
        assert restored.counts == counts[n]
        assert same(take(restored, 1), batches[n : n + 1])
    with_workers = make(num_workers=2)
    with_workers.restore(states[2])
    assert same(take(with_workers, 4), batches[2:6])
    assert with_workers.counts == counts[6]
    with_workers.close()


def test_pairs_and_drops_are_counted_by_source(tokenizer):
    config = dataclasses.replace(CONFIG, num_streams=2, shuffle=False)
    pairs = Loader(MIXTURE, tokenizer, config, batch_rows=4)
    assert set(pairs.counts.values()) == {0}
    in_rows = collections.Counter()
    for _ in range(6):
        next(pairs)
        in_rows.update(SOURCE_OF[name] for name in pairs.last_record_ids)
    counts = pairs.counts
    assert {name: counts[f"pairs/{name}"] for name in PARTS} == in_rows
    dropped = {name: counts[f"dropped/{name}"] for name in PARTS}
    assert min(dropped.values()) > 0
    assert sum(dropped.values()) == counts["too_long"]
    assert sum(in_rows.values()) + sum(dropped.values()) == counts["records"]
    assert all(counts[f"records/{name}"] == in_rows[name] + dropped[name] for name in PARTS)
    batch = next(pairs)
    numbers = batch.companions["source"][batch.item_mask]
    assert ["abc"[number] for number in numbers] == [SOURCE_OF[n] for n in pairs.last_record_ids]
    # What is read is in the shares, what waits aside.
    for name, share in MIXTURE.shares.items():
        read = in_rows[name] + dropped[name]
        assert abs(read - share * counts["records"]) <= 2 * (2 + CONFIG.packing_window)


def test_documents_are_mixed_by_source_and_resume_inside_one(tokenizer):
    """Code and pairs in pieces: batches, ids and counts by source are the same from every state on."""
    code = [
        SourceFile(
            f"a{i}", " ".join(["x1"] * (i * 13 % 60)), "", "", "file", "python", "", "", "", 1
        )
        for i in range(17)
    ]
    config = dataclasses.replace(
        CONFIG, layout="packed", length_policy="split", mixture=("a=A:1", "b=B:2"), num_streams=2
    )
    mixed = Mixture({"a": code, "b": PARTS["b"]}, proportions(config.sources))
    layout = layout_of(config, kind=Documents())

    def make() -> Loader:
        return Loader(mixed, tokenizer, config, batch_rows=4, layout=layout, seed=1)

    whole, states, batches = make(), [], []
    for _ in range(8):
        states.append(json.loads(json.dumps(whole.state())))
        batches.append((next(whole), whole.last_record_ids))
    assert any(number > 0 for states_ in states for s in states_ for _, number in s["waiting"])
    counts = whole.counts
    for what, total in (("records", counts["records"]), ("pieces", counts["pieces"])):
        assert sum(counts[f"{what}/{name}"] for name in "ab") == total > 0
    assert counts["dropped/a"] == counts["empty"] > 0 == counts["dropped/b"]
    in_rows = collections.Counter(
        "ab"[number]
        for batch, _ in batches
        for number in batch.companions["source"][batch.item_mask]
    )
    ids = [name for _, names in batches for name in names]
    assert in_rows == collections.Counter(SOURCE_OF.get(name, "a") for name in ids)
    assert in_rows == {name: counts[f"pieces/{name}"] for name in "ab"}
    for start in (0, 1, 5):
        rest = make()
        rest.restore(states[start])
        for expected, names in batches[start:]:
            jax.tree.map(np.testing.assert_array_equal, next(rest), expected)
            assert rest.last_record_ids == names
        assert rest.counts == counts


def test_a_source_without_a_pair_to_keep_is_named(tokenizer):
    parts = PARTS | {"b": make_pairs("b", 7, too_long=1), "c": make_pairs("c", 11)}
    bad = [dataclasses.replace(pair, rejected=pair.chosen) for pair in parts["b"]]
    mixed = Mixture(parts | {"b": bad}, MIXTURE.proportions)
    config = dataclasses.replace(CONFIG, num_streams=1)
    pairs = Loader(mixed, tokenizer, config, batch_rows=4)
    with pytest.raises(
        UserError, match=r"no pair was kept of 7 in a row; dropped: 7 with two ident"
    ):
        take(pairs, 9)
    with pytest.raises(UserError, match="holds no pairs"):
        Loader(Mixture(PARTS | {"b": []}, MIXTURE.proportions), tokenizer, config, batch_rows=4)


def test_states_go_on_in_another_mixture_where_that_is_allowed(tokenizer):
    pairs = Loader(MIXTURE, tokenizer, CONFIG, batch_rows=4)
    take(pairs, 3)
    state = pairs.state()
    other = Mixture({"a": PARTS["a"], "d": PARTS["b"]}, {"a": 100, "d": 100})
    for source, names in ((other, "ad"), (PARTS["a"], "")):
        config = dataclasses.replace(CONFIG, mixture=tuple(f"{name}={name}:1" for name in names))
        changed = Loader(source, tokenizer, config, batch_rows=4)
        changed.restore(state)
        counts = changed.counts
        assert [name for name in counts if "/" in name] == [
            f"{what}/{name}" for name in names for what in ("records", "pairs", "dropped")
        ]
        assert counts["pairs"] == pairs.counts["pairs"]
        next(changed)
    pairs = Loader(MIXTURE, tokenizer, CONFIG, batch_rows=4)
    pairs.restore(changed.state())
    next(pairs)


def test_the_cache_must_hold_all_sources_of_buckets(bucket, tmp_path):
    for name, pairs in PARTS.items():
        folder = tmp_path / name
        splits = {"train": write_split(folder, "train", pairs, 2)}
        write_manifest(folder, PreferencePair, splits, {})
        for path in folder.iterdir():
            bucket.put(f"{name}/{path.name}", path.read_bytes())
    sizes = [
        [path.stat().st_size for path in sorted((tmp_path / name).glob("train*-of-00002"))]
        for name in PARTS
    ]
    data = DataConfig(
        mixture=tuple(f"{name}=gs://code/{name}:1" for name in PARTS),
        cache=str(tmp_path / "cache"),
        cache_bytes=sum(map(sum, sizes)),
    )
    found = open_records(data, "train", (PreferencePair,))
    assert list(found) == list(MIXTURE)
    for shuffle, needed in ((True, sum(map(sum, sizes))), (False, sum(2 * max(s) for s in sizes))):
        small = dataclasses.replace(data, shuffle=shuffle, cache_bytes=needed - 1)
        with pytest.raises(
            UserError, match=rf"data\.cache_bytes = .*{needed} bytes of the sources"
        ):
            open_records(small, "train", (PreferencePair,))
