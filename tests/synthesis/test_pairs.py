"""Pairs: lineage, splits, lengths, determinism and resume."""

import collections
import dataclasses
import json
import pathlib
import shutil

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import GateConfig, NgramConfig, SynthesisConfig
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.synthesis.pairs import synthesize

TRAIN_0, TRAIN_1 = (shards.shard_name("train", i, 2) for i in range(2))
HELDOUT = shards.shard_name("heldout", 0, 1)


def run(corpus, output, **settings) -> dict | None:
    return synthesize(SynthesisConfig(input=str(corpus), output=str(output), **settings))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Bytes of every file but those that hold times; the output's own name is taken out."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"OUTPUT")
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in (".lock", ".html")
        and path.name != "report.json"
        and not (path.suffix == ".json" and "passes" in path.parts and path.name != "settings.json")
    }


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("pairs") / "pairs"
    run(corpus, output)
    return output


@pytest.fixture
def output(finished, tmp_path) -> pathlib.Path:
    """A copy of the finished output, to be damaged."""
    return shutil.copytree(finished, tmp_path / "pairs")


def test_pairs_are_what_their_sources_say(finished, train, heldout):
    for split, sources in (("train", train), ("heldout", heldout)):
        by_id = {source.source_id: source for source in sources}
        found = list(ShardedDataset(finished, PreferencePair, split))
        assert len({pair.source_id for pair in found}) == len(found)
        for pair in found:
            source = by_id[pair.source_id]
            assert (pair.prompt, pair.chosen) == (source.description, source.content)
            assert pair.rejected.strip()
            assert pair.rejected != pair.chosen
            assert pair.pair_id == content_id(pair.prompt, pair.chosen, pair.rejected)
            assert pair.subset == f"rate {pair.lineage['rejected']['rate']:.2f}"
            assert pair.lineage["path"] == source.path
            assert pair.lineage["chosen"] == pair.lineage["describe"] == {"sampler": "author"}
    assert {pair.lineage["rejected"]["rate"] for pair in found} == set(NgramConfig().rates)


def test_no_path_stands_in_both_splits(finished):
    train, heldout = (
        {pair.lineage["path"] for pair in ShardedDataset(finished, PreferencePair, split)}
        for split in ("train", "heldout")
    )
    assert train
    assert heldout
    assert train.isdisjoint(heldout)


def test_report_counts_every_source(finished, train, heldout):
    report = json.loads((finished / "report.json").read_text())
    for split, sources in (("train", train), ("heldout", heldout)):
        part = report[split]
        assert part["pairs"] == len(ShardedDataset(finished, PreferencePair, split))
        assert part["pairs"] + sum(part["dropped"].values()) == len(sources)
        by_rate = [value["pairs"] for key, value in part["lengths"].items() if key != "all"]
        assert sum(by_rate) == part["pairs"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_length_gives_nothing_away(corpus, tmp_path, seed):
    report = run(corpus, tmp_path / "pairs", seed=seed)
    assert report is not None
    for split in ("train", "heldout"):
        for group in report[split]["lengths"].values():
            for unit in ("characters", "tokens"):
                assert 0.45 <= group[unit]["longer_wins"] <= 0.55


def test_same_settings_same_bytes(corpus, finished, tmp_path):
    run(corpus, tmp_path / "pairs")
    assert contents(tmp_path / "pairs") == contents(finished)


@pytest.mark.parametrize("damage", ["no entry", "flipped byte", "no shard"])
def test_a_killed_gate_is_finished_without_redoing_the_rest(
    corpus, finished, output, monkeypatch, damage
):
    (output / shards.MANIFEST).unlink()
    (output / "report.json").unlink()
    if damage == "no entry":
        (output / f"{TRAIN_1}.json").unlink()
    elif damage == "no shard":
        (output / TRAIN_1).unlink()
    else:
        data = bytearray((output / TRAIN_1).read_bytes())
        data[len(data) // 2] ^= 1
        (output / TRAIN_1).write_bytes(data)
    written = []
    write_shard = shards.write_shard

    def spy(directory, name, *args, **counts):
        written.append(name)
        return write_shard(directory, name, *args, **counts)

    monkeypatch.setattr(shards, "write_shard", spy)
    run(corpus, output)
    assert written == [TRAIN_1]
    assert contents(output) == contents(finished)


def test_a_damaged_text_is_named(corpus, output):
    chunk = output / "passes/chosen/train-00001-of-00002/00000.array_record"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    run(corpus, output)  # the pairs are there already
    (output / TRAIN_1).unlink()
    with pytest.raises(UserError, match=r"00000\.array_record: is damaged.*Remedy: delete it"):
        run(corpus, output)
    chunk.unlink()
    run(corpus, output)


WEAK = SynthesisConfig().rejected


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 1}, r"rejected\.writer\.seed was 0, is 1"),
        (
            {"rejected": dataclasses.replace(WEAK, ngram=NgramConfig(order=2))},
            r"rejected\.writer\.order was 3, is 2",
        ),
        (
            {"rejected": dataclasses.replace(WEAK, ngram=NgramConfig(rates=(0.5,)))},
            r"rejected\.writer\.rates was .*, is \[0.5\]",
        ),
        ({"chunk_size": 7}, r"describe\.chunk_size was 512, is 7"),
        ({"gate": GateConfig(max_length_ratio=3.0)}, r"gate\.max_length_ratio was 0.0, is 3.0"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(corpus, output, settings, difference):
    before = contents(output)
    with pytest.raises(UserError, match=difference):
        run(corpus, output, **settings)
    assert contents(output) == before


def test_another_gate_needs_no_new_texts(corpus, output):
    texts = {path: data for path, data in contents(output).items() if path.startswith("passes")}
    (output / "settings.json").unlink()
    report = run(corpus, output, gate=GateConfig(parsable=("rejected",)))
    assert report is not None
    assert report["train"]["dropped"]["rejected: not parsable"] > 0
    assert {
        path: data for path, data in contents(output).items() if path.startswith("passes")
    } == texts


def test_another_weak_writer_keeps_the_other_texts(corpus, output):
    before = contents(output)
    shutil.rmtree(output / "passes/rejected")
    (output / "settings.json").unlink()
    report = run(
        corpus, output, rejected=dataclasses.replace(WEAK, ngram=NgramConfig(rates=(0.5,)))
    )
    assert report is not None
    assert set(report["train"]["lengths"]) == {"all", "rate 0.50"}
    after = contents(output)
    for name in ("describe", "chosen"):
        kept = {path for path in before if path.startswith(f"passes/{name}")}
        assert kept
        assert {path: after[path] for path in kept} == {path: before[path] for path in kept}


def test_commands_that_share_the_shards_write_what_one_writes(corpus, finished, tmp_path):
    output = tmp_path / "pairs"
    assert run(corpus, output, worker="2/3") is None
    assert run(corpus, output, worker="0/3") is None
    assert not (output / shards.MANIFEST).exists()
    assert run(corpus, output, worker="1/3") is not None
    ours, theirs = contents(output), contents(finished)
    assert ours.pop(shards.MANIFEST) != theirs.pop(shards.MANIFEST)  # the config says which worker
    assert ours == theirs


def test_rejects_name_source_and_reason(finished, train):
    rows = [
        json.loads(line)
        for name in (TRAIN_0, TRAIN_1)
        for line in (finished / "rejects" / f"{name}.jsonl").read_text().splitlines()
    ]
    kept = {pair.source_id for pair in ShardedDataset(finished, PreferencePair, "train")}
    assert {row["source_id"] for row in rows} == {source.source_id for source in train} - kept
    report = json.loads((finished / "report.json").read_text())
    assert collections.Counter(row["reason"] for row in rows) == report["train"]["dropped"]


def test_no_pair_at_all_is_a_user_error(corpus, tmp_path):
    gate = GateConfig(drop_refusals=False, max_length_ratio=1.0, parsable=("rejected",))
    weak = dataclasses.replace(WEAK, ngram=NgramConfig(rates=(1.0,)))
    with pytest.raises(UserError, match=r"let no train pair through.*not parsable"):
        run(corpus, tmp_path / "pairs", gate=gate, rejected=weak)


def test_input_that_is_no_corpus_is_a_user_error(finished, tmp_path):
    with pytest.raises(UserError, match="SourceFile"):
        run(finished, tmp_path / "other")
    with pytest.raises(UserError, match=r"manifest\.json"):
        run(tmp_path, tmp_path / "other")
