from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import threading

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import arrivals, staging, storage
from codepmp_jax.files.staging import Cache, Source, Staging
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split


@pytest.fixture
def sources(bucket) -> list[Source]:
    """Four shards of 100 bytes."""
    sources = []
    for number in range(4):
        data = bytes([number]) * 100
        bucket.put(f"data/{number}", data)
        sources.append(Source(f"gs://code/data/{number}", 100, hashlib.sha256(data).hexdigest()))
    return sources


@pytest.fixture
def reads(monkeypatch) -> list[tuple[str, int, int]]:
    """What is read of the bucket."""
    reads = []
    read_range = storage.read_range

    def counted(path, start, stop):
        reads.append((path, start, stop))
        return read_range(path, start, stop)

    monkeypatch.setattr(storage, "read_range", counted)
    return reads


def whole(sources, cache) -> list[bytes]:
    staged = Staging(sources, cache, in_order=False)
    return [staged.path(number).read_bytes() for number in range(len(sources))]


def test_what_is_there_is_not_copied_again(sources, tmp_path, reads):
    expected = [bytes([number]) * 100 for number in range(4)]
    cache = Cache(str(tmp_path / "cache"), 400)
    assert whole(sources, cache) == expected
    assert sorted(path for path, _, _ in reads) == [source.path for source in sources]
    reads.clear()
    assert whole(sources, cache) == expected
    # By content, wherever it lies.
    elsewhere = dataclasses.replace(sources[2], path="gs://code/elsewhere")
    assert whole([elsewhere], cache) == expected[2:3]
    copied = pickle.loads(pickle.dumps(Staging(sources, cache, in_order=False)))
    assert copied.path(1).read_bytes() == expected[1]
    assert reads == []


@pytest.mark.parametrize("in_order", [False, True])
def test_a_shard_is_there_before_the_others(sources, tmp_path, monkeypatch, in_order):
    """Training begins with the first shard that it reads, whatever else is to be copied."""
    may_go, read_range, wanted = threading.Event(), storage.read_range, 0 if in_order else 2

    def held_up(path, start, stop):
        if path != sources[wanted].path:
            assert may_go.wait(60)
        return read_range(path, start, stop)

    monkeypatch.setattr(storage, "read_range", held_up)
    before = arrivals.total()
    staged = Staging(sources, Cache(str(tmp_path), 400), in_order)
    assert staged.path(wanted).read_bytes() == bytes([wanted]) * 100
    # As it comes, and as it is compared.
    assert arrivals.total() - before == 200
    may_go.set()
    assert [staged.path(number).read_bytes()[0] for number in range(4)] == [0, 1, 2, 3]
    assert arrivals.total() - before == 800


def test_a_copy_that_was_cut_off_goes_on(sources, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(staging, "_BLOCK_BYTES", 40)
    cache = Cache(str(tmp_path), 400)
    (tmp_path / f"{sources[1].sha256}.partial").write_bytes(bytes([1]) * 40)
    # One that is not the shard's begins again.
    (tmp_path / f"{sources[2].sha256}.partial").write_bytes(b"?" * 70)
    assert whole(sources, cache)[1:3] == [bytes([1]) * 100, bytes([2]) * 100]
    of = {
        source.path: [(a, b) for path, a, b in reads if path == source.path] for source in sources
    }
    assert of[sources[1].path] == [(40, 80), (80, 100)]
    assert of[sources[2].path] == [(70, 100), (0, 40), (40, 80), (80, 100)]


def test_a_damaged_copy_is_made_again(sources, tmp_path, caplog):
    cache = Cache(str(tmp_path), 400)
    whole(sources, cache)
    path = tmp_path / sources[3].sha256
    path.write_bytes(b"x" * 100)
    assert whole(sources, cache)[3] == bytes([3]) * 100
    assert f"{path}: is damaged; copied again" in caplog.text


def test_a_damaged_shard_is_named(sources, tmp_path, bucket):
    bucket.put("data/1", b"x" * 100)
    with pytest.raises(UserError, match="gs://code/data/1: shard is damaged"):
        whole(sources, Cache(str(tmp_path), 400))


def test_in_file_order_those_used_longest_ago_make_room(sources, tmp_path, reads):
    staged = Staging(sources, Cache(str(tmp_path), 200), in_order=True)
    for _ in range(2):
        for number in range(4):
            assert staged.path(number).read_bytes() == bytes([number]) * 100
            with staging._held(tmp_path / ".lock"):
                there = [path for path in tmp_path.iterdir() if path.name[0] != "."]
                assert sum(path.stat().st_size for path in there) <= 200
    assert len(reads) >= 8


def test_shards_of_another_run_make_room_first(sources, tmp_path):
    cache = Cache(str(tmp_path), 200)
    whole(sources[:2], cache)
    os.utime(tmp_path / sources[0].sha256, (1, 1))
    whole(sources[2:3], cache)
    assert {path.name for path in tmp_path.iterdir() if len(path.name) == 64} == {
        sources[1].sha256,
        sources[2].sha256,
    }


@pytest.mark.parametrize(("in_order", "num_bytes"), [(False, 399), (True, 199)])
def test_a_cache_that_is_too_small_is_refused(sources, tmp_path, in_order, num_bytes):
    with pytest.raises(UserError, match=rf"data\.cache_bytes = {num_bytes}: must hold"):
        Staging(sources, Cache(str(tmp_path), num_bytes), in_order)


def test_a_disk_without_room_is_refused(sources, tmp_path):
    huge = [Source("gs://code/data/0", 1 << 60, sources[0].sha256)]
    with pytest.raises(UserError, match=r"data\.cache = .*: must have room for"):
        Staging(huge, Cache(str(tmp_path), 1 << 61), in_order=False)


@pytest.fixture
def dataset(bucket, tmp_path):
    """(local folder, address of the same in the bucket) of 30 files in 3 shards."""
    folder = tmp_path / "corpus"
    files = [
        SourceFile(str(i), f"x = {i}", "", "x", "file", "Python", "r", f"{i}.py", "MIT", 1)
        for i in range(30)
    ]
    write_manifest(folder, SourceFile, {"train": write_split(folder, "train", files, 3)}, {})
    for path in folder.iterdir():
        bucket.put(f"corpus/{path.name}", path.read_bytes())
    return folder, "gs://code/corpus"


@pytest.mark.parametrize("in_order", [False, True])
def test_a_dataset_in_a_bucket_is_the_one_on_disk(dataset, tmp_path, in_order):
    folder, address = dataset
    local = ShardedDataset(folder, SourceFile, "train")
    size = sum(shard.num_bytes for shard in local.shards)
    cache = Cache(str(tmp_path / "cache"), size - 1 if in_order else size)
    remote = ShardedDataset(address, SourceFile, "train", cache=cache, in_order=in_order)
    assert [*remote] == [*local]
    assert [*pickle.loads(pickle.dumps(remote))] == [*local]


def test_shards_that_are_missing_or_of_another_size_are_named_at_once(dataset, bucket, tmp_path):
    _, address = dataset
    cache = Cache(str(tmp_path / "cache"), 1 << 20)
    name = "train.array_record-00001-of-00003"
    bucket.put(f"corpus/{name}", b"short")
    with pytest.raises(UserError, match=f"{address}/{name}: shard is damaged: its 5 bytes"):
        ShardedDataset(address, SourceFile, "train", cache=cache)
    bucket.delete(f"corpus/{name}")
    with pytest.raises(UserError, match=f"{address}/{name}: shard is missing"):
        ShardedDataset(address, SourceFile, "train", cache=cache)
    with pytest.raises(UserError, match=r"gs://code/none/manifest\.json: no such file"):
        ShardedDataset("gs://code/none", SourceFile, "train", cache=cache)
