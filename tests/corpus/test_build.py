"""The corpus: files in, deduplicated shards split by file out."""

import dataclasses
import json
import pathlib

import pytest

from codepmp_jax import shards
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.build import build_corpus, split_of
from codepmp_jax.errors import UserError
from codepmp_jax.records import PreferencePair, SourceFile
from codepmp_jax.shards import ShardedDataset


def write_files(root: pathlib.Path, number: int = 30) -> pathlib.Path:
    for i in range(number):
        path = root / f"package{i % 3}" / f"module{i}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"def first{i}(a, b):\n    '''Adds {i}.'''\n    c = a + b\n    return c + {i}\n\n\n"
            f"class Second{i}:\n    def third(self):\n        self.x = {i}\n        return self\n"
        )
    return root


def build(tmp_path, **settings) -> dict:
    config = CorpusConfig(input=str(tmp_path / "code"), output=str(tmp_path / "corpus"))
    return build_corpus(dataclasses.replace(config, **settings))


def records(folder) -> dict[str, list[SourceFile]]:
    return {
        split: list(ShardedDataset(folder, SourceFile, split)) for split in ("train", "heldout")
    }


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_file_gives_snippets_to_both_splits(tmp_path):
    write_files(tmp_path / "code")
    report = build(tmp_path, heldout_fraction=0.3)
    found = records(tmp_path / "corpus")
    train, heldout = ({source.path for source in found[split]} for split in ("train", "heldout"))
    assert train
    assert heldout
    assert train.isdisjoint(heldout)
    assert len(train | heldout) == 30
    assert report["splits"]["train"]["snippets"] == len(found["train"])
    assert report["snippets"]["kept"] == len(found["train"]) + len(found["heldout"])


def test_a_file_keeps_its_split_when_others_join():
    config = CorpusConfig(heldout_fraction=0.25)
    splits = [split_of(f"m{i}.py", config) for i in range(4000)]
    assert 0.22 < splits.count("heldout") / 4000 < 0.28
    other = CorpusConfig(heldout_fraction=0.25, seed=1)
    assert splits != [split_of(f"m{i}.py", other) for i in range(4000)]


def test_same_input_same_bytes(tmp_path):
    write_files(tmp_path / "code")
    build(tmp_path)
    first = contents(tmp_path / "corpus")
    build(tmp_path)
    assert contents(tmp_path / "corpus") == first
    assert not any(name.endswith(".partial") for name in first)


def test_duplicates_keep_their_first_place(tmp_path):
    write_files(tmp_path / "code")
    copy = (
        (tmp_path / "code/package0/module0.py")
        .read_text()
        .replace("c = a + b", "c = a  + b  # sum")
    )
    (tmp_path / "code/package0/module0_copy.py").write_text(copy)
    report = build(tmp_path)
    found = records(tmp_path / "corpus")
    paths = {source.path for sources in found.values() for source in sources}
    assert report["snippets"]["dropped"] == {"duplicate": 3}
    assert "package0/module0.py" in paths
    assert "package0/module0_copy.py" not in paths


def test_bad_files_are_counted_and_named(tmp_path):
    code = write_files(tmp_path / "code")
    (code / "broken.py").write_text("def f(:\n")
    (code / "latin.py").write_bytes(b"# caf\xe9\ndef f(x):\n    y = x\n    return y\n")
    (code / "declared.py").write_bytes(
        b"# -*- coding: latin-1 -*-\ndef declared(x):\n    y = 'caf\xe9'\n    return y\n"
    )
    (code / "nowhere.py").symlink_to(code / "missing")
    (code / "test").mkdir()
    (code / "test" / "excluded.py").write_text("def f(:\n")
    report = build(tmp_path)
    assert report["files"]["found"] == 34
    assert report["files"]["dropped"] == {"undecodable": 1, "unparsable": 1, "unreadable": 1}
    rejected = {file["path"]: file["reason"] for file in report["files"]["rejected"]}
    assert rejected == {
        "broken.py": "unparsable",
        "latin.py": "undecodable",
        "nowhere.py": "unreadable",
    }
    found = records(tmp_path / "corpus")
    names = {source.name: source.content for sources in found.values() for source in sources}
    assert "café" in names["declared"]
    assert json.loads((tmp_path / "corpus" / "report.json").read_text()) == report


@pytest.mark.parametrize("case", ["no folder", "empty", "one file"])
def test_input_without_enough_code_is_one_clear_error(tmp_path, case):
    if case != "no folder":
        write_files(tmp_path / "code", number=1 if case == "one file" else 0)
        (tmp_path / "code").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=r"code.*Remedy"):
        build(tmp_path)
    assert not (tmp_path / "corpus" / shards.MANIFEST).exists()


def test_a_new_corpus_replaces_the_old_one_whole(tmp_path):
    write_files(tmp_path / "code")
    build(tmp_path, num_shards=5)
    build(tmp_path, num_shards=2)
    names = {path.name for path in (tmp_path / "corpus").glob("train.array_record-?????-of-?????")}
    assert names == {shards.shard_name("train", i, 2) for i in range(2)}


def test_a_folder_of_pairs_is_not_overwritten(tmp_path):
    write_files(tmp_path / "code")
    pairs = shards.write_split(tmp_path / "corpus", "train", [], 1)
    shards.write_manifest(tmp_path / "corpus", PreferencePair, {"train": pairs}, {})
    before = contents(tmp_path / "corpus")
    with pytest.raises(UserError, match="PreferencePair"):
        build(tmp_path)
    assert contents(tmp_path / "corpus") == before
