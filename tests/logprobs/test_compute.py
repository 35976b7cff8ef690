"""Log-probs of pairs: equal by both backends and in all layouts, resumed after a kill, and refused where stale."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import shutil

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import (
    DataConfig,
    DpoConfig,
    LogProbsConfig,
    ModelConfig,
    TrainConfig,
    presets,
)
from codepmp_jax.conversion import load
from codepmp_jax.logprobs import compute
from codepmp_jax.logprobs.jax_backend import JaxBackend
from codepmp_jax.records.log_probs import LogProbsFolder, open_log_probs, read_origin
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import loop
from tests.conversion.runs import write_run
from tests.training.reference import TorchPreferenceModel, tiny_config

DATA = DataConfig(
    template="{prompt}\n{response}", max_length=32, layout="shared", row_length=96, append_eos=True
)


def write_pairs(folder: pathlib.Path, seed: int) -> str:
    rng = np.random.default_rng(seed)

    def code(words: int) -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x", "+", "1"], words))

    def make(number: int) -> list[PreferencePair]:
        rows = [
            (f"do {i}", code(6), code(40 if i % 7 == 3 else int(rng.integers(2, 9))))
            for i in range(number)
        ]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(40), 2),
        "heldout": write_split(folder, "heldout", make(11), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return str(folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> str:
    return write_pairs(tmp_path_factory.mktemp("pairs"), 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A Hugging Face folder of a language model."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny_config(model__vocab_size=4096, workdir=str(tmp_path_factory.mktemp("run") / "r"))
    lm = TorchPreferenceModel(config, write_run(config)).lm
    # Of training only: a reference has none.
    lm.config.attention_dropout = 0.5
    lm.save_pretrained(folder)
    Tokenizer.load("embedded").save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def config(folder, pairs, tmp_path_factory) -> LogProbsConfig:
    """Of a command that went through."""
    config = LogProbsConfig(
        model=folder,
        input=pairs,
        output=str(tmp_path_factory.mktemp("logprobs") / "of"),
        data=DATA,
        pairs_per_part=16,
    )
    compute.run(config)
    return config


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def test_pytorch_gives_the_same_in_another_layout(config, tmp_path):
    other = dataclasses.replace(
        config,
        backend="torch",
        output=str(tmp_path / "of"),
        data=dataclasses.replace(DATA, layout="packed"),
    )
    compute.run(other)
    ours, theirs = (LogProbsFolder(one.output) for one in (config, other))
    counts = read_origin(config.output)["counts"]
    assert counts == read_origin(other.output)["counts"]
    assert counts["pairs"] == 43
    assert counts["too_long"] == 8
    for split in ("train", "heldout"):
        for record in ShardedDataset(config.input, PreferencePair, split):
            if len(record.rejected.split()) == 40:
                with pytest.raises(UserError, match="has no log-probs of the pair"):
                    ours.find(record)
                continue
            found, expected = ours.find(record), theirs.find(record)
            np.testing.assert_array_equal(found.num_tokens, expected.num_tokens)
            np.testing.assert_allclose(found.tokens, expected.tokens, rtol=1e-4, atol=1e-4)
            sides = np.split(found.tokens, [found.num_tokens[0]])
            np.testing.assert_allclose([side.sum() for side in sides], found.sums, rtol=1e-5)


def test_a_killed_command_resumes_to_the_same_files(config, tmp_path, monkeypatch, capsys):
    killed = dataclasses.replace(config, output=str(tmp_path / "of"))
    log_probs, calls = JaxBackend.log_probs, []

    def kill(backend, batch):
        calls.append(batch)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return log_probs(backend, batch)

    with monkeypatch.context() as patch:
        patch.setattr(JaxBackend, "log_probs", kill)
        with pytest.raises(KeyboardInterrupt):
            compute.run(killed)
    assert not (tmp_path / "of" / "manifest.json").exists()
    with pytest.raises(
        UserError, match="Remedy: give a folder that `codepmp logprobs` has finished"
    ):
        open_log_probs(killed.output)
    compute.run(killed)
    found = files(killed.output)
    assert found == files(config.output)
    compute.run(killed)
    assert "was written before" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"begun with other settings: of\.texts\.append_eos was True"
    ):
        compute.run(dataclasses.replace(killed, data=dataclasses.replace(DATA, append_eos=False)))


def training(config: LogProbsConfig, workdir: pathlib.Path, **changes) -> TrainConfig:
    """Training of the same model on the same pairs."""
    data = dataclasses.replace(DATA, input=config.input)
    settings = TrainConfig(
        workdir=str(workdir),
        model=ModelConfig(init_from=config.model, compute_dtype="float32", remat="none"),
        data=data,
        loss=DpoConfig(reference=config.output),
        global_batch_rows=8,
        num_steps=1,
        log_every_steps=1,
        eval_pairs=0,
    )
    return load.resolve(dataclasses.replace(settings, **changes))


def test_training_from_the_reference_begins_at_ln_2(config, tmp_path):
    of_run = training(config, tmp_path / "run")
    row = loop.train(of_run, load.params_loader(of_run))
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert row["rewards/margins"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.template": "{prompt} {response}"}, r"texts\.template was '\{prompt\}\\n"),
        ({"data.max_length": 31}, r"texts\.max_length was 32, is 31"),
        ({"data.length_policy": "truncate"}, r"texts\.length_policy was 'drop', is 'truncate'"),
        ({"data.append_eos": False}, r"texts\.append_eos was True, is False"),
        ({"data.tokenizer": "other"}, r"tokenizer\.\w+ was '[0-9a-f]+', is"),
        ({"data.input": "other"}, r"shards was '3 others', is '[0-9a-f]{12}"),
        ({"model.init_from": "other"}, r"weights was '[0-9a-f]+', is"),
        ({"loss.reference": ""}, r"loss\.reference = '': must be given"),
        ({"loss.reference": "none"}, r"none/manifest\.json: no such file"),
    ],
)
def test_stale_log_probs_are_refused_by_the_field(config, tmp_path, changes, said):
    ((path, value),) = changes.items()
    if path == "data.input":
        value = write_pairs(tmp_path / "pairs", 1)
    if path == "data.tokenizer":
        value = str(tmp_path / "tokenizer")
        Tokenizer.load("embedded").save(value)
        settings = pathlib.Path(value) / "tokenizer.json"
        table = json.loads(settings.read_text())
        vocab = table["model"]["vocab"]
        first, second = list(vocab)[300:302]
        vocab[first], vocab[second] = vocab[second], vocab[first]
        settings.write_text(json.dumps(table))
    if path == "model.init_from":
        value = str(tmp_path / "model")
        shutil.copytree(config.model, value)
        weights = pathlib.Path(value) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    section, _, name = path.partition(".")
    base = training(config, tmp_path / "run")
    part = dataclasses.replace(getattr(base, section), **{name: value})
    with pytest.raises(UserError, match=said):
        loop.Run(dataclasses.replace(base, **{section: part}))


def test_the_training_preset_gives_the_data_settings():
    words = ["--config", "dpo_7b", "--model", "m", "--output", "o"]
    config = presets.parse(LogProbsConfig, "", words)
    assert config.data.append_eos
    assert config.data.max_length == 1024
    assert config.input == "runs/pairs"
    assert config.dtype == "bfloat16"
    with pytest.raises(
        UserError, match="is a CandidatesConfig, but this script takes a TrainConfig"
    ):
        presets.parse(LogProbsConfig, "", ["--config", "candidates_ngram"])
