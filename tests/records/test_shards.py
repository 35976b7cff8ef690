import json
import pickle

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.records.shards import ShardedDataset


def make_pairs(count):
    return [PreferencePair(f"pair-{i}", "p", "c" * i, "r", lineage={"i": i}) for i in range(count)]


def write_dataset(folder, train=7, heldout=2, num_shards=3, **facts):
    pairs = make_pairs(train + heldout)
    splits = {
        "train": shards.write_split(folder, "train", pairs[:train], num_shards),
        "heldout": shards.write_split(folder, "heldout", pairs[train:], 1),
    }
    shards.write_manifest(folder, PreferencePair, splits, {"command": "test"}, **facts)
    return pairs


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path)
    return tmp_path


def first_shard(folder):
    return folder / "train.array_record-00000-of-00003"


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_shards", [1, 3, 7, 10])
def test_records_come_back_in_order_from_any_number_of_shards(tmp_path, num_shards):
    pairs = write_dataset(tmp_path, num_shards=num_shards)
    train = ShardedDataset(tmp_path, PreferencePair, "train")
    assert len(train) == 7
    assert list(train) == pairs[:7]
    assert [train[i] for i in reversed(range(7))] == pairs[:7][::-1]
    assert list(ShardedDataset(tmp_path, PreferencePair, "heldout")) == pairs[7:]
    sizes = [shard.num_records for shard in train.shards]
    assert len(sizes) == num_shards
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("index", [-1, 7])
def test_index_outside_is_an_index_error(folder, index):
    with pytest.raises(IndexError, match=f"record {index} of 7 in train"):
        ShardedDataset(folder, PreferencePair, "train")[index]


def test_an_empty_split_has_no_records(tmp_path):
    shards.write_manifest(tmp_path, PreferencePair, {"train": []}, {})
    assert list(ShardedDataset(tmp_path, PreferencePair, "train")) == []


def test_a_dataset_travels_to_workers(folder):
    dataset = ShardedDataset(folder, PreferencePair, "train")
    first = dataset[0]
    assert pickle.loads(pickle.dumps(dataset))[0] == first


def test_manifest_tells_counts_and_how_it_was_made(tmp_path):
    write_dataset(tmp_path, drops={"empty": 4})
    manifest = shards.read_manifest(tmp_path, PreferencePair)
    assert manifest["splits"]["train"]["num_records"] == 7
    assert manifest["made_by"] == {"command": "test"}
    assert manifest["drops"] == {"empty": 4}
    for entry in manifest["splits"]["train"]["shards"]:
        path = tmp_path / entry["name"]
        assert entry["num_bytes"] == path.stat().st_size
        assert entry["sha256"] == sha256_of(path)
        assert json.loads((tmp_path / f"{entry['name']}.json").read_text()) == entry


def test_equal_records_give_equal_shards(tmp_path):
    for name in ("one", "other"):
        write_dataset(tmp_path / name)
    one, other = (shards.read_manifest(tmp_path / name)["splits"] for name in ("one", "other"))
    assert one == other


# --- atomicity ------------------------------------------------------------------------------------


def test_a_shard_cut_off_midway_leaves_no_shard(tmp_path):
    def records():
        yield from make_pairs(3)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        shards.write_shard(tmp_path, "train.array_record-00000-of-00001", records())
    assert [path.name for path in tmp_path.iterdir()] == [
        "train.array_record-00000-of-00001.partial"
    ]


def test_a_finished_dataset_has_no_partial_files(folder):
    assert not list(folder.glob("*.partial"))


def test_shards_without_a_manifest_are_no_dataset(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such file\. Remedy"):
        ShardedDataset(folder, PreferencePair, "train")


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


# --- damage ---------------------------------------------------------------------------------------


def refused(folder, message, **options):
    with pytest.raises(UserError, match=message):
        ShardedDataset(folder, PreferencePair, "train", **options)


def test_a_flipped_byte_names_the_shard(folder):
    path = first_shard(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(folder, rf"{path.name}: shard is damaged: .* sha256 ")


@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_shard_is_named(folder, verify):
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-10])
    refused(folder, rf"{path.name}: shard is damaged: its \d+ bytes", verify=verify)


def test_a_shard_of_zeros_is_named_when_read(folder):
    path = first_shard(folder)
    path.write_bytes(bytes(path.stat().st_size))
    dataset = ShardedDataset(folder, PreferencePair, "train", verify=False)
    with pytest.raises(UserError, match=rf"{path.name}: shard is damaged at record 0"):
        dataset[0]


def test_a_missing_shard_is_named(folder):
    first_shard(folder).unlink()
    refused(folder, rf"{first_shard(folder).name}: shard is missing")


def test_another_record_type_or_schema_is_refused(folder, monkeypatch):
    with pytest.raises(UserError, match="holds PreferencePair records of schema 1, but SourceFile"):
        ShardedDataset(folder, SourceFile, "train")
    monkeypatch.setattr(PreferencePair, "schema_version", 2)
    refused(folder, "schema 1, but PreferencePair records of schema 2 are read here")


def test_a_broken_manifest_is_named(folder):
    (folder / "manifest.json").write_text('{"record": ')
    refused(folder, r"manifest\.json: not JSON")


def test_an_unknown_split_lists_those_there(folder):
    with pytest.raises(UserError, match="no split 'dev'; it has train, heldout"):
        ShardedDataset(folder, PreferencePair, "dev")
