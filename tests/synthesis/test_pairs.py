"""Pairs: lineage, splits, lengths, determinism and resume."""

import collections
import dataclasses
import json
import pathlib
import shutil

import pytest

from codepmp_jax import shards
from codepmp_jax.config import NgramConfig, SynthesisConfig
from codepmp_jax.errors import UserError
from codepmp_jax.records import PreferencePair, content_id
from codepmp_jax.shards import ShardedDataset
from codepmp_jax.synthesis import pairs as pairs_module
from codepmp_jax.synthesis.pairs import make_pairs, synthesize
from codepmp_jax.synthesis.sampler import Completion, Sampler

TRAIN_0, TRAIN_1 = (shards.shard_name("train", i, 2) for i in range(2))
HELDOUT = shards.shard_name("heldout", 0, 1)


def run(corpus, output, **settings) -> dict:
    return synthesize(SynthesisConfig(input=str(corpus), output=str(output), **settings))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Bytes of every file; the output's own name, which the manifest holds, is taken out."""
    return {
        path.name: path.read_bytes().replace(str(folder).encode(), b"OUTPUT")
        for path in folder.iterdir()
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
            assert pair.subset == f"rate {pair.lineage['rate']:.2f}"
            assert pair.lineage["path"] == source.path
    assert {pair.lineage["rate"] for pair in found} == set(NgramConfig().rates)


def test_no_path_stands_in_both_splits(finished):
    train, heldout = (
        {pair.lineage["path"] for pair in ShardedDataset(finished, PreferencePair, split)}
        for split in ("train", "heldout")
    )
    assert train
    assert heldout
    assert train.isdisjoint(heldout)


def test_writer_is_fitted_on_the_train_split_alone(corpus, train, tmp_path, monkeypatch):
    fitted_on = []

    class Spy(pairs_module.NgramSampler):
        def __init__(self, sources, config, seed):
            fitted_on.extend(sources)
            super().__init__(sources, config, seed)

    monkeypatch.setattr(pairs_module, "NgramSampler", Spy)
    run(corpus, tmp_path / "pairs")
    assert fitted_on == train


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
    for split in ("train", "heldout"):
        for group in report[split]["lengths"].values():
            for unit in ("characters", "tokens"):
                assert 0.45 <= group[unit]["longer_wins"] <= 0.55


def test_same_settings_same_bytes(corpus, finished, tmp_path):
    run(corpus, tmp_path / "pairs")
    assert contents(tmp_path / "pairs") == contents(finished)


@pytest.mark.parametrize("damage", ["no entry", "flipped byte", "no shard"])
def test_a_killed_run_is_finished_without_redoing_the_rest(
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


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"ngram": NgramConfig(order=2)}, "order was 3, is 2"),
        ({"ngram": NgramConfig(rates=(0.5,))}, r"rates was .*, is \[0.5\]"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(corpus, output, settings, difference):
    before = contents(output)
    with pytest.raises(UserError, match=difference):
        run(corpus, output, **settings)
    assert contents(output) == before


class Writer(Sampler):
    """Writes what its table says for a description."""

    def __init__(self, table):
        self.table = table

    def settings(self):
        return {}

    def sample(self, requests):
        return [self.table[request.prompt] for request in requests]


def test_useless_texts_are_dropped_and_counted(train):
    sources = [dataclasses.replace(train[0], description=str(i)) for i in range(4)]
    writer = Writer(
        {
            "0": Completion(" \n", "", {}),
            "1": Completion(train[0].content, "", {}),
            "2": Completion("def f(): ...", "cut off", {}),
            "3": Completion("def f(): ...", "", {}),
        }
    )
    dropped: collections.Counter[str] = collections.Counter()
    (pair,) = make_pairs(sources, writer, dropped)
    assert (pair.prompt, pair.rejected, pair.subset) == ("3", "def f(): ...", "")
    assert dropped == {"empty": 1, "identical": 1, "cut off": 1}


def test_input_that_is_no_corpus_is_a_user_error(finished, tmp_path):
    with pytest.raises(UserError, match="SourceFile"):
        run(finished, tmp_path / "other")
    with pytest.raises(UserError, match=r"manifest\.json"):
        run(tmp_path, tmp_path / "other")
