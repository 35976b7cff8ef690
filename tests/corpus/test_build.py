"""The corpus: files in, deduplicated shards split by file out, whatever is killed on the way."""

import collections
import dataclasses
import functools
import json
import pathlib
import random
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import (
    CorpusConfig,
    DecontaminationConfig,
    DedupConfig,
    FilterConfig,
    SecretsConfig,
)
from codepmp_jax.corpus import parts, readers
from codepmp_jax.corpus.build import build_corpus
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.records.shards import ShardedDataset
from tests.processes import Process


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
    """File -> bytes, without what names the folder itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != shards.MANIFEST
    }


def rejects(folder: pathlib.Path, name: str) -> list[dict]:
    lines = (folder / "rejects" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_no_file_gives_snippets_to_both_splits(tmp_path):
    write_files(tmp_path / "code")
    report = build(tmp_path, heldout_fraction=0.3)
    found = records(tmp_path / "corpus")
    train, heldout = ({source.path for source in found[split]} for split in ("train", "heldout"))
    assert train
    assert heldout
    assert train.isdisjoint(heldout)
    assert len(train | heldout) == 30
    assert report["splits"]["train"]["texts"] == len(found["train"])
    assert report["texts"]["kept"] == len(found["train"]) + len(found["heldout"])


def test_a_file_keeps_its_split_when_others_join():
    config = CorpusConfig(heldout_fraction=0.25)
    splits = [parts.is_heldout("a/b", f"m{i}.py", config) for i in range(4000)]
    assert 0.22 < sum(splits) / 4000 < 0.28
    other = CorpusConfig(heldout_fraction=0.25, seed=1)
    assert splits != [parts.is_heldout("a/b", f"m{i}.py", other) for i in range(4000)]
    # setup.py of one repository says nothing of another's.
    setups = [parts.is_heldout(f"a/{i}", "setup.py", config) for i in range(4000)]
    assert 0.22 < sum(setups) / 4000 < 0.28


def test_sources_lie_in_the_order_of_their_ids(tmp_path):
    write_files(tmp_path / "code", 60)
    build(tmp_path, num_shards=3, heldout_fraction=0.5)
    for sources in records(tmp_path / "corpus").values():
        ids = [source.source_id for source in sources]
        assert ids == sorted(set(ids))
    names = {path.name for path in (tmp_path / "corpus").glob("*.array_record-?????-of-?????")}
    assert names == {
        shards.shard_name(split, i, 3) for split in ("train", "heldout") for i in range(3)
    }


@pytest.mark.parametrize("num_workers", [1, 2])
def test_same_input_same_bytes(tmp_path, monkeypatch, num_workers):
    write_files(tmp_path / "code")
    build(tmp_path)
    first = contents(tmp_path / "corpus")
    # Other parts, too: what a part holds is no one's business.
    monkeypatch.setattr(readers, "_PART_FILES", 7)
    build(tmp_path, output=str(tmp_path / "again"), num_workers=num_workers)
    assert contents(tmp_path / "again") == first
    assert not any(name.endswith(".partial") for name in first)
    assert not any(name.startswith("work") for name in first)


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
    assert report["texts"]["dropped"] == {"duplicate": 3}
    of = {source.source_id[:16] for sources in found.values() for source in sources}
    for reject in rejects(tmp_path / "corpus", "texts"):
        assert reject["path"] == "package0/module0_copy.py"
        assert reject["reason"] == "duplicate"
        assert reject["detail"].removeprefix("of ") in of
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
    assert report["files"]["kept"] == 31
    rejected = {file["path"]: file["reason"] for file in rejects(tmp_path / "corpus", "files")}
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


def test_a_refused_input_leaves_the_folder_free(tmp_path):
    write_files(tmp_path / "code", number=1)
    with pytest.raises(UserError, match="none fell to the split"):
        build(tmp_path)
    write_files(tmp_path / "code")
    assert build(tmp_path, seed=1)["texts"]["kept"] == 90


def test_a_finished_corpus_is_left_as_it_is(tmp_path, capsys, monkeypatch):
    write_files(tmp_path / "code")
    report = build(tmp_path)
    before = contents(tmp_path / "corpus")
    write_files(tmp_path / "code", 50)
    monkeypatch.setattr(readers, "read", None)
    capsys.readouterr()
    assert build(tmp_path, num_workers=2) == report
    assert "is finished; nothing to do" in capsys.readouterr().err
    assert contents(tmp_path / "corpus") == before


def test_other_settings_are_refused_with_the_difference(tmp_path):
    write_files(tmp_path / "code")
    build(tmp_path)
    before = contents(tmp_path / "corpus")
    with pytest.raises(UserError, match=r"config.filter.min_tokens was 0, is 7\. Remedy"):
        build(tmp_path, filter=FilterConfig(min_tokens=7))
    assert contents(tmp_path / "corpus") == before


def test_a_half_done_corpus_with_other_settings_is_refused(tmp_path, monkeypatch):
    write_files(tmp_path / "code")
    monkeypatch.setattr(readers, "_PART_FILES", 7)
    write, calls = parts.PartWriter.write, []

    def write_some(writer, index, offset):
        calls.append(index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(writer, index, offset)

    monkeypatch.setattr(parts.PartWriter, "write", write_some)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    with pytest.raises(UserError, match=r"config.seed was 0, is 1\. Remedy"):
        build(tmp_path, seed=1)
    build(tmp_path)
    # The part in work is done again, those before it are not.
    assert calls == [0, 1, 2, 2, 3, 4]


def test_a_folder_of_pairs_is_not_overwritten(tmp_path):
    write_files(tmp_path / "code")
    pairs = shards.write_split(tmp_path / "corpus", "train", [], 1)
    shards.write_manifest(tmp_path / "corpus", PreferencePair, {"train": pairs}, {})
    before = contents(tmp_path / "corpus")
    with pytest.raises(UserError, match="PreferencePair"):
        build(tmp_path)
    assert contents(tmp_path / "corpus") == before


def test_a_corpus_of_unknown_settings_is_not_taken_for_ours(tmp_path):
    write_files(tmp_path / "code")
    build(tmp_path)
    (tmp_path / "corpus/settings.json").unlink()
    with pytest.raises(UserError, match=r"without its settings.json\. Remedy"):
        build(tmp_path)


SECRET = "AKIA" + "Z7QX3WMN5PLK2RTY"
HUMAN_EVAL_0 = (
    "    for idx, elem in enumerate(numbers):\n        for idx2, elem2 in enumerate(numbers):\n"
    "            if idx != idx2:\n                distance = abs(elem - elem2)\n"
    "                if distance < threshold:\n                    return True\n\n    return False\n"
)


def write_table(path: pathlib.Path, number: int = 60) -> pathlib.Path:
    """A table of whole files: some alike, some with secrets, some from a benchmark, some of no use."""
    rng = random.Random(0)
    words = [f"word{i}" for i in range(400)]
    contents = []
    for _ in range(number):
        body = "".join(
            f"    {rng.choice(words)} = {rng.choice(words)} + {rng.choice(words)}\n"
            for _ in range(40)
        )
        contents.append(f"def {rng.choice(words)}({rng.choice(words)}):\n{body}")
    contents.append(contents[3].replace("\n", "\n\n"))
    contents.append(contents[4] + "    last = 1\n")
    contents.append(contents[5] + f"    key = '{SECRET}'\n    mail = 'ada@shelf-makers.org'\n" * 2)
    contents.append("def has_close_elements(numbers, threshold):\n" + HUMAN_EVAL_0)
    contents.append("x = '" + "a" * 2000 + "'\n")
    contents.append("x = 1\n")
    table = {
        "content": contents,
        "max_stars_repo_name": [f"ada/{i // 4}" for i in range(len(contents))],
        "max_stars_repo_path": [f"src/m{i}.py" for i in range(len(contents))],
        "max_stars_repo_licenses": [["MIT"]] * (len(contents) - 1) + [["GPL-3.0"]],
    }
    pq.write_table(pa.table(table), str(path), row_group_size=16)
    return path


FILES = CorpusConfig(
    unit="file",
    filter=FilterConfig(licenses=("MIT",)),
    secrets=SecretsConfig("replace", "replace"),
    dedup=DedupConfig(near=True),
    decontamination=DecontaminationConfig(human_eval=True),
    heldout_fraction=0.3,
)


def test_every_drop_is_counted_and_named(tmp_path):
    table = write_table(tmp_path / "a.parquet")
    output = tmp_path / "corpus"
    config = dataclasses.replace(FILES, input=str(table), output=str(output))
    report = build_corpus(config)
    files, texts = rejects(output, "files"), rejects(output, "texts")
    assert {row["path"] for row in files} == {"src/m64.py", "src/m65.py"}
    assert [(row["path"], row["reason"]) for row in texts] == [
        ("src/m63.py", "contaminated: HumanEval"),
        ("src/m60.py", "duplicate"),
        ("src/m61.py", "near-duplicate"),
        ("src/m62.py", "near-duplicate"),
    ]
    assert texts[0]["detail"].startswith("HumanEval/0: ")
    by_id = {s.source_id: s for sources in records(output).values() for s in sources}
    of = [text["detail"].removeprefix("of ") for text in texts[1:]]
    names = [next(s.path for key, s in by_id.items() if key.startswith(prefix)) for prefix in of]
    assert names == ["src/m3.py", "src/m4.py", "src/m5.py"]
    assert report["files"]["found"] == 66
    assert report["files"]["kept"] == 60
    assert sum(report["files"]["dropped"].values()) == 6
    assert report["files"]["dropped"]["every text dropped"] == 4
    assert dict(collections.Counter(row["reason"] for row in texts)) == report["texts"]["dropped"]
    assert report["texts"]["found"] == 64
    assert report["licenses"] == {"MIT": 60}
    assert (
        report["splits"]["train"]["whole_files"] + report["splits"]["heldout"]["whole_files"] == 60
    )
    assert sum(report["secrets"].values()) >= 4


def test_secrets_do_not_reach_the_shards(tmp_path):
    table = write_table(tmp_path / "a.parquet")
    output = tmp_path / "corpus"
    config = dataclasses.replace(FILES, input=str(table), output=str(output), dedup=DedupConfig())
    build_corpus(config)
    (source,) = (
        source
        for sources in records(output).values()
        for source in sources
        if source.path == "src/m62.py"
    )
    assert SECRET not in source.content
    assert "ada@shelf-makers.org" not in source.content
    assert source.content.count("\n") == 45


BUILD = """
import dataclasses, sys, time
from codepmp_jax.records import shards
from codepmp_jax.config import *
from codepmp_jax.corpus import readers
from codepmp_jax.corpus.build import build_corpus
from tests.corpus.test_build import FILES
readers._PART_BYTES = 4000
write_manifest = shards.write_manifest

def write_manifest_later(*args, **options):
    time.sleep(float(sys.argv[3]))  # so that a kill comes before it
    write_manifest(*args, **options)

shards.write_manifest = write_manifest_later
if __name__ == "__main__":
    build_corpus(dataclasses.replace(
        FILES, input=sys.argv[1], output=sys.argv[2]))
"""


def test_killed_at_any_time_the_same_command_gives_the_same_corpus(tmp_path):
    """Kills at random moments of a run, each run going on where the last one was killed."""
    write_table(tmp_path / "a.parquet", 300)
    script = tmp_path / "build.py"
    script.write_text(BUILD)

    def start(output: str, pause: float) -> Process:
        command = [sys.executable, script, tmp_path / "a.parquet", tmp_path / output, pause]
        root = pathlib.Path(__file__).parents[2]
        return Process(command, {"PYTHONPATH": str(root)}, root)

    def finish(output: str) -> None:
        with start(output, pause=0) as process:
            assert process.wait() == 0, process.stderr

    finish("whole")
    before = contents(tmp_path / "whole")
    assert shards.MANIFEST not in before
    assert (tmp_path / "whole" / shards.MANIFEST).is_file()
    rng = random.Random(7)
    num_finished = 0
    # Some more parts, twice; when duplicates are searched for; when shards are written.
    for pattern in ("work/parts/*.json", "work/parts/*.json", "work/buckets", "train.*"):
        wanted = num_finished + rng.randint(1, 8) if pattern.endswith("json") else 1
        with start("killed", pause=300) as process:
            found = functools.partial((tmp_path / "killed").glob, pattern)
            process.until(lambda found=found, wanted=wanted: len([*found()]) >= wanted)
            time.sleep(rng.uniform(0, 0.01))
            process.kill()
        assert not (tmp_path / "killed" / shards.MANIFEST).exists()
        num_finished = len(list((tmp_path / "killed").glob("work/parts/*.json")))
    finish("killed")
    assert contents(tmp_path / "killed") == before
