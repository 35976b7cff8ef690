"""Folders of shards as TFDS datasets, read by the real library, without TensorFlow."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from codepmp_jax.records import shards, tfds_info
from codepmp_jax.records.schema import Completion, PreferencePair, SourceFile
from codepmp_jax.records.shards import ShardedDataset

MESSAGES = json.dumps([{"role": "user", "content": 'sagt "日本"\n'}], ensure_ascii=False)
PAIRS = [
    PreferencePair("id 0", "p", "c\r\n\t", "", margin=1 / 3, subset="rate 0.40", source_id="s"),
    PreferencePair("id 1", MESSAGES, MESSAGES, "[]", is_conversation=True, margin=-2.5),
    PreferencePair("", "", "", "", lineage={"ключ": [1, {"🙂": None}], "rate": 0.1}),
    *(PreferencePair(f"id {i}", "é" * i, "c\0", "r" * 10_000, i % 2 == 0) for i in range(3, 9)),
]
SOURCES = [
    SourceFile(f"s{i}", "x = 1\n" * i, "日" * i, "f", "function", "python", "r", "a/b.py", "MIT", i)
    for i in range(6)
] + [SourceFile(*[""] * 9, line=2**40)]


def write(folder, records, num_shards=3):
    """`records` as train, their last one as heldout, and an empty split."""
    splits = {
        "train": shards.write_split(folder, "train", records, num_shards),
        "heldout": shards.write_split(folder, "heldout", records[-1:], 1),
        "empty": shards.write_split(folder, "empty", [], 1),
    }
    shards.write_manifest(folder, type(records[0]), splits, {})
    for name in (
        "report.json",
        "report.html",
        "rejects/train.jsonl",
        "passes/chosen/manifest.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def as_record(record_type, values):
    """The record in what TFDS returns: bytes for text, scalars for numbers."""
    kinds = {field.name: field.type for field in dataclasses.fields(record_type)}
    assert set(values) == set(kinds)

    def as_field(name, value):
        if isinstance(value, bytes):
            return json.loads(value) if kinds[name] == "dict[str, Any]" else value.decode()
        value = np.asarray(value).item()
        assert type(value).__name__ == kinds[name]
        return value

    return record_type(**{name: as_field(name, value) for name, value in values.items()})


@pytest.mark.parametrize("num_shards", [1, 4, 12])
@pytest.mark.parametrize("records", [PAIRS, SOURCES], ids=["pairs", "sources"])
def test_tfds_reads_what_we_read(tmp_path, records, num_shards):
    import tensorflow_datasets as tfds

    record_type = type(records[0])
    write(tmp_path, records, num_shards)
    builder: Any = tfds.builder_from_directory(tmp_path)
    assert set(builder.info.splits) == {"train", "heldout"}
    for split in ("train", "heldout"):
        ours = list(ShardedDataset(tmp_path, record_type, split))
        source = builder.as_data_source(split)
        assert len(source) == builder.info.splits[split].num_examples == len(ours)
        assert [as_record(record_type, source[i]) for i in range(len(source))] == ours
    assert set(builder.as_data_source()) == {"train", "heldout"}
    middle = builder.as_data_source("train[2:5]")
    assert [as_record(record_type, values) for values in middle] == [
        *ShardedDataset(tmp_path, record_type, "train")
    ][2:5]


def test_grain_reads_the_tfds_source(tmp_path):
    import grain
    import tensorflow_datasets as tfds

    write(tmp_path, PAIRS)
    builder: Any = tfds.builder_from_directory(tmp_path)
    source = builder.as_data_source("train")
    dataset = grain.MapDataset.source(source).shuffle(seed=1)
    found = [as_record(PreferencePair, values) for values in dataset]
    expected = list(ShardedDataset(tmp_path, PreferencePair, "train"))
    assert found != expected
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_no_tensorflow_is_imported(tmp_path):
    write(tmp_path, PAIRS)
    script = """
import sys
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source("train")
print(len([source[i]["chosen"] for i in range(len(source))]), "tensorflow" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, f"{len(PAIRS)} False\n"), run.stderr


def test_the_features_are_those_that_tfds_writes_itself(tmp_path):
    import tensorflow_datasets as tfds

    def tfds_writes(**features):
        tfds.features.FeaturesDict(features).save_config(tmp_path)
        return json.loads((tmp_path / tfds_info.FEATURES).read_text())

    text, scalar = tfds.features.Text, tfds.features.Scalar
    names = ("pair_id", "prompt", "chosen", "rejected", "subset", "source_id", "lineage")
    assert tfds_info.features(PreferencePair) == tfds_writes(
        **{name: text() for name in names},
        is_conversation=scalar(np.bool_),
        margin=scalar(np.float32),
    )
    names = ("source_id", "content", "description", "name", "kind", "language", "repository")
    assert tfds_info.features(SourceFile) == tfds_writes(
        **{name: text() for name in (*names, "path", "license")},
        line=scalar(np.int64),
        stars=scalar(np.int64),
    )


@pytest.mark.parametrize("record_type", [PreferencePair, SourceFile, Completion])
def test_every_field_of_a_record_has_a_feature(record_type):
    features = tfds_info.features(record_type)["featuresDict"]["features"]
    assert list(features) == [field.name for field in dataclasses.fields(record_type)]


def test_the_manifest_comes_last(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        shards, "write_json", lambda path, value: written.append(pathlib.Path(path).name)
    )
    shards.write_manifest(tmp_path, PreferencePair, {"train": []}, {})
    assert sorted(written[:-1]) == [tfds_info.DATASET_INFO, tfds_info.FEATURES]
    assert written[-1] == shards.MANIFEST
