"""Pair shards read by the real SeqIO, which lives in an environment of its own (make .venv-seqio)."""

import collections
import itertools
import json
import os
import pathlib

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.text.tokenization import Tokenizer
from tests import processes

ROOT = pathlib.Path(__file__).parents[2]


def message(role, text):
    return json.dumps([{"role": role, "content": text}], ensure_ascii=False)


def make_pairs(name, count):
    pairs = []
    for i in range(count):
        prompt, chosen = f"Sum of {i} 日本 {name}.", f"def f(x):\n    return {i}"
        rejected = " return 🙂" * (i % 4)
        is_conversation = i % 5 == 4
        if is_conversation:
            prompt = message("user", prompt)
            chosen, rejected = message("assistant", chosen), message("assistant", rejected)
        facts = {"is_conversation": is_conversation, "margin": i / 3, "subset": f"s{i % 2}"}
        pairs.append(PreferencePair(f"{name} {i}", prompt, chosen, rejected, **facts))
    return pairs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folders = []
    for name, count, num_shards in (("a", 41, 3), ("b", 17, 1)):
        folders.append(tmp_path_factory.mktemp(name))
        splits = {
            "train": shards.write_split(folders[-1], "train", make_pairs(name, count), num_shards),
            "heldout": shards.write_split(folders[-1], "heldout", make_pairs(f"{name}'", 4), 1),
        }
        shards.write_manifest(folders[-1], PreferencePair, splits, {})
    return folders


@pytest.fixture(scope="module")
def pairs(folders):
    return list(ShardedDataset(folders[0], PreferencePair, "train"))


@pytest.fixture(scope="module")
def found(folders):
    """What tests/data/seqio_reader.py printed."""
    python = ROOT / ".venv-seqio" / "bin" / "python"
    assert python.exists(), f"{python} is not there: run `make .venv-seqio/installed`"
    run = processes.run(
        [python, pathlib.Path(__file__).with_name("seqio_reader.py"), *folders],
        os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        folders[0],
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_splits_and_files_are_the_folders(found):
    assert found["splits"] == {"train": 41, "validation": 4}
    assert found["files"] == [f"train.array_record-{i:05d}-of-00003" for i in range(3)]
    assert found["validation"] == [f"a' {i}" for i in range(4)]


@pytest.mark.parametrize("append_eos", [False, True])
def test_tokens_are_the_loaders(found, pairs, append_eos):
    tokenizer = Tokenizer.load("embedded")
    config = DataConfig(append_eos=append_eos)
    rows = found["eos" if append_eos else "plain"]
    for pair, row in zip(pairs, rows, strict=True):
        texts = tokenizer.format_pair(pair, config.template)
        for prefix, encoded in zip(
            ("", "rejected_"), tokenizer.encode(texts, append_eos), strict=True
        ):
            inputs, targets = row[f"{prefix}inputs"], row[f"{prefix}targets"]
            assert inputs + targets == encoded.tokens.tolist()
            assert len(inputs) == encoded.response_start


def test_what_else_a_pair_has_comes_along(found, pairs):
    for pair, row in zip(pairs, found["plain"], strict=True):
        assert (row["pair_id"], row["subset"]) == (pair.pair_id, pair.subset)
        assert (row["margin"], row["is_conversation"]) == (pair.margin, pair.is_conversation)
        if not pair.is_conversation:
            prompt = f"Instruction:{pair.prompt}\n\nResponse:"
            assert row["inputs_pretokenized"] == row["rejected_inputs_pretokenized"] == prompt
            assert row["targets_pretokenized"] == pair.chosen
            assert row["rejected_targets_pretokenized"] == pair.rejected


def test_features_are_cut_to_their_lengths(found):
    for whole, cut in zip(found["plain"], found["cut"], strict=True):
        assert cut["inputs"] == whole["inputs"][:16]
        assert cut["rejected_targets"] == whole["rejected_targets"][:12]
        assert cut["margin"] == whole["margin"]


def test_a_vocabulary_of_ones_own(found, pairs):
    for pair, row in zip(pairs, found["bytes"], strict=True):
        assert "rejected_targets" not in row or isinstance(row["rejected_targets"], str)
        for part in ("inputs", "targets"):
            expected = [byte + 3 for byte in row[f"{part}_pretokenized"].encode()]
            assert row[part] == expected + ([1] if part == "targets" else [])
        if not pair.is_conversation:
            assert row["targets_pretokenized"] == pair.chosen


def test_shares_hold_every_pair_once(found, pairs):
    shares = found["shares"]
    assert sorted(itertools.chain(*shares)) == sorted(pair.pair_id for pair in pairs)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert found["unshuffled_share"] == [pair.pair_id for pair in pairs[1::3]]


def test_the_shuffle_is_whole_and_repeatable(found, pairs):
    in_order = [pair.pair_id for pair in pairs]
    first, again, *others = found["shuffled"]
    assert first == again
    for order in (first, *others):
        assert order != in_order
        assert sorted(order) == sorted(in_order)
    assert len({tuple(order) for order in (in_order, first, *others)}) == 4


def test_every_epoch_has_another_order(found, pairs):
    first, second = found["epochs"][: len(pairs)], found["epochs"][len(pairs) :]
    assert first != second
    assert sorted(first) == sorted(second) == sorted(pair.pair_id for pair in pairs)


def test_the_mixture_draws_by_its_rates(found, pairs):
    features = ("inputs", "margin", "rejected_inputs", "rejected_targets", "targets")
    assert found["mixture_features"] == list(features)

    def key(row):
        return json.dumps([row[name] for name in features])

    own = {key(row) for row in found["plain"]}
    drawn = collections.Counter(key(row) in own for row in found["mixture"])
    assert drawn[True] / 600 == pytest.approx(1 / 4, abs=0.07)
    # The task's shuffle mixes epochs, so that a pair may be missing from three of them.
    assert len({key(row) for row in found["mixture"]} & own) > 0.8 * len(own)


def test_t5x_takes_the_features(found):
    tokens = {json.dumps(row["targets"]) for row in found["plain"]}
    for row in found["t5x"]["encoder-decoder"]:
        targets = [token for token in row["decoder_target_tokens"] if token]
        assert json.dumps(targets) in tokens
        assert sum(row["decoder_loss_weights"]) == len(targets)
        assert len(row["encoder_input_tokens"]) == 24
    for row in found["t5x"]["prefix"]:
        assert len(row["decoder_target_tokens"]) == 48


def test_the_tokenizer_is_a_vocabulary(found):
    tokenizer = Tokenizer.load("embedded")
    assert found["vocabulary"] == {
        "size": tokenizer.vocab_size,
        "pad": tokenizer.pad_id,
        "eos": tokenizer.eos_id,
        "same in TensorFlow": True,
        "decoded": True,
        "decoded in TensorFlow": [True, True],
        "pickled": True,
        "another": False,
    }


def test_what_cannot_be_is_refused(found):
    splits, folder, tokenizer, unknown, rate, none = found["refusals"]
    assert "names none of the splits" in splits
    assert "manifest.json: no such file" in folder
    assert "no such folder" in tokenizer
    assert "'no_task': is no registered task" in unknown
    assert "rates['pairs'] = 0.0: must be positive" in rate
    assert "must name a task" in none


def test_without_seqio_the_extra_is_named():
    with pytest.raises(UserError, match=r"Remedy: pip install 'codepmp_jax\[seqio\]'"):
        import codepmp_jax.data.seqio_tasks  # noqa: F401
