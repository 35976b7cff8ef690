"""Language modelling of documents: PyTorch's loss, whatever the rows; runs that resume, evaluate and are started from."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands.convert import make_check
from codepmp_jax.config import (
    CheckpointConfig,
    ConvertConfig,
    DataConfig,
    LmConfig,
    MeshConfig,
    PmpConfig,
    TrainConfig,
    presets,
)
from codepmp_jax.conversion import load
from codepmp_jax.conversion.export import to_hf
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.devices.sharding import make_mesh
from codepmp_jax.models.preference import init_params
from codepmp_jax.records.schema import SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text.tokenization import EncodedText, Tokenizer
from codepmp_jax.training import loop, objectives
from codepmp_jax.training.run import Run
from codepmp_jax.training.step import evaluate_batch, gradients
from tests.training.reference import TorchPreferenceModel, tiny_config
from tests.training.runs import final_state, rows

RECORD = SourceFile("id", "", "", "", "file", "python", "", "", "", 1)


def lm_config(layout: Any = "packed", row_length: int | None = 48, **changes) -> TrainConfig:
    """Documents of up to 24 tokens a piece."""
    data = DataConfig(
        max_length=24,
        layout=layout,
        row_length=None if layout == "padded" else row_length,
        length_policy="split",
    )
    return tiny_config(loss=LmConfig(lm_chunk_tokens=16), data=data, **changes)


def random_documents(seed: int, number: int = 9) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 96, rng.integers(2, 40)).astype(np.int32) for _ in range(number)]


def batch_of(documents: list[np.ndarray], config: TrainConfig, num_rows: int = 16) -> Batch:
    layout = objectives.build(config).layout()
    parts = [layout.kind.fit(RECORD, [EncodedText(text, 0)], layout) for text in documents]
    found = [row.row for row in pack(iter(parts), layout, 0, new_state("pieces"))]
    found.append(layout.empty(num_rows - len(found), 0))
    return jax.tree.map(jnp.asarray, concatenate(found))


def torch_nll(documents: list[np.ndarray], config: TrainConfig, params) -> tuple[float, int]:
    """(sum of transformers' own loss over all pieces, labels): each piece alone, as `labels=` computes it."""
    return nll_of_pieces(TorchPreferenceModel(config, params).lm, documents, config.data.max_length)


def nll_of_pieces(model: Any, documents: list[np.ndarray], limit: int) -> tuple[float, int]:
    total, labels = 0.0, 0
    for text in documents:
        for first in range(0, len(text) - 1, limit - 1):
            ids = torch.tensor(text[first : first + limit].astype(np.int64))[None]
            with torch.no_grad():
                loss = model(input_ids=ids, labels=ids).loss
            total += loss.item() * (ids.shape[1] - 1)
            labels += ids.shape[1] - 1
    return total, labels


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_is_that_of_transformers_on_each_piece_alone(layout, tied):
    config = lm_config(layout, model__tie_embeddings=tied)
    documents = random_documents(0)
    params = init_params(config.model, 0)
    total, labels = torch_nll(documents, config, params)
    assert labels == sum(len(text) - 1 for text in documents)
    metrics = gradients(params, batch_of(documents, config), config)[1]
    assert float(metrics["loss"]) == pytest.approx(total / labels, rel=1e-5)
    assert metrics.keys() == {"loss", "lm_loss"}
    sums = evaluate_batch(params, batch_of(documents, config), config).sums
    assert sums.keys() == {"labels"}
    assert float(sums["labels"]["lm_loss"]) == pytest.approx(total, rel=1e-5)


def test_rows_parts_and_meshes_change_nothing():
    documents = random_documents(1)
    expected = None
    for layout, row_length, parts, mesh in (
        ("padded", None, 1, MeshConfig(data=1, fsdp=1)),
        ("padded", None, 4, MeshConfig(data=1, fsdp=1)),
        ("packed", None, 2, MeshConfig(data=1, fsdp=1)),
        ("packed", 64, 1, MeshConfig(data=2, fsdp=4)),
    ):
        config = lm_config(layout, row_length, accumulation_steps=parts, mesh=mesh)
        with jax.set_mesh(
            make_mesh((mesh.data, mesh.fsdp, 1), jax.devices()[: mesh.data * mesh.fsdp])
        ):
            found = jax.jit(lambda params, batch, config=config: gradients(params, batch, config))(
                init_params(config.model, 0), batch_of(documents, config)
            )
        expected = expected or found
        assert "score" not in found[0]
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * scale, err_msg=layout)


def test_a_step_is_worth_its_documents_flops():
    """Keys and labels of the documents, as if each were alone, and no score head."""
    config = lm_config()
    flops = objectives.useful_flops(config, tokens=24, keys=300, labels=23, items=1)
    assert flops == objectives.useful_flops(config, tokens=24, keys=300, labels=23, items=5)
    of_pairs = dataclasses.replace(config, loss=PmpConfig(), data=DataConfig())
    assert flops < objectives.useful_flops(of_pairs, tokens=24, keys=300, labels=23, items=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": "shared"}, "data.layout = 'shared': must be packed or padded"),
        ({"layout": "packed", "response_window": "paper"}, "data.response_window = 'paper'"),
    ],
)
def test_settings_of_pairs_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        TrainConfig(loss=LmConfig(), data=DataConfig(**changes))


def test_pairs_cannot_be_divided():
    with pytest.raises(UserError, match="must be drop or truncate with the objective pmp"):
        TrainConfig(data=DataConfig(length_policy="split"))


def test_a_preset_chooses_the_objective_and_saved_runs_keep_it():
    config = presets.load_preset("lm_tiny")
    assert isinstance(config.loss, LmConfig)
    changed = presets.parse(TrainConfig, "", ["--loss.pair-texts", "chosen"], default=config)
    assert changed.loss == LmConfig(pair_texts="chosen")
    assert presets.from_json(TrainConfig, presets.to_json(changed), "saved") == changed
    saved = presets.to_json(config)
    saved["loss"]["rm_coef"] = 1.0
    with pytest.raises(UserError, match="rm_coef"):
        presets.from_json(TrainConfig, saved, "saved")


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """40 training and 9 held-out documents, some of several pieces, one of them empty."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)

    def make(number: int) -> list[SourceFile]:
        found = []
        for i in range(number):
            words = rng.choice(
                ["def", "f", "(", ")", "return", "x", "+", "1"], 0 if i == 5 else 4 + 3 * i % 80
            )
            content = " ".join(words)
            found.append(
                dataclasses.replace(RECORD, source_id=content_id(content, str(i)), content=content)
            )
        return found

    splits = {
        "train": write_split(folder, "train", make(40), 2),
        "heldout": write_split(folder, "heldout", make(9), 1),
    }
    write_manifest(folder, SourceFile, splits, {})
    return str(folder)


@pytest.fixture(scope="session")
def lm_run(corpus, tmp_path_factory) -> TrainConfig:
    """A run of six steps on documents that went through."""
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("lm_run")),
        model__vocab_size=4096,
        loss=LmConfig(),
        data=DataConfig(
            input=corpus,
            layout="packed",
            max_length=24,
            row_length=48,
            length_policy="split",
            append_eos=True,
        ),
        checkpoint=CheckpointConfig(
            every_steps=2, keep=10, keep_best=1, best_metric="eval_lm_loss", best_is="lowest"
        ),
        num_steps=6,
        log_every_steps=1,
        eval_every_steps=4,
        eval_pairs=9,
    )
    loop.train(config)
    return config


def test_a_run_learns_and_is_evaluated_on_held_out_documents(lm_run):
    found = rows(lm_run)
    assert found[-1]["loss"] < found[0]["loss"]
    last = found[-1]
    assert last["eval_lm_perplexity"] == pytest.approx(math.exp(last["eval_lm_loss"]))
    assert (last["heldout_records"], last["heldout_empty"]) == (9, 1)
    assert last["heldout_pieces"] > 9
    assert last["data_pieces"] > last["data_records"]
    names = set().union(*found)
    assert not [name for name in names if "pair" in name or "accuracy" in name or "reward" in name]
    timed = json.loads((pathlib.Path(lm_run.workdir) / "metrics.jsonl").read_text().splitlines()[0])
    assert "speed/pieces_per_second" in timed
    assert (
        json.loads((pathlib.Path(lm_run.workdir) / "texts.json").read_text())["form"] == "document"
    )


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_run_resumes_exactly(lm_run, tmp_path, monkeypatch, num_workers):
    data = dataclasses.replace(lm_run.data, num_streams=4, num_workers=num_workers)
    config = dataclasses.replace(lm_run, workdir=str(tmp_path / "whole"), data=data)
    loop.train(config)
    halves = dataclasses.replace(config, workdir=str(tmp_path / "halves"))

    class Killed(Exception):
        pass

    def killed(run, step, *arguments, save=loop.Run.save):
        save(run, step, *arguments)
        if step == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "save", killed)
        with pytest.raises(Killed):
            loop.train(halves)
    loop.train(halves)
    assert rows(halves) == rows(config)
    for a, b in zip(final_state(halves), final_state(config), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_texts_of_pairs_are_another_run(lm_run):
    other = dataclasses.replace(lm_run, loss=LmConfig(pair_texts="chosen"), num_steps=7)
    with pytest.raises(UserError, match=r"loss\.pair_texts = 'chosen'"):
        loop.train(other)


def test_a_run_on_pairs_refuses_documents_and_says_so(corpus, tmp_path):
    config = tiny_config(
        workdir=str(tmp_path), model__vocab_size=4096, data=DataConfig(input=corpus)
    )
    with pytest.raises(UserError, match=r"holds SourceFile records.*PreferencePair records"):
        loop.train(config)


def test_the_texts_of_pairs_are_trained_on(pairs, tmp_path):
    found = {}
    for which in ("both", "chosen"):
        config = lm_config(
            workdir=str(tmp_path / which), model__vocab_size=4096, num_steps=1, eval_pairs=11
        )
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, input=pairs),
            loss=LmConfig(pair_texts=which),
        )
        found[which] = loop.train(config)
    assert (found["both"]["heldout_records"], found["chosen"]["heldout_records"]) == (11, 11)
    assert found["both"]["heldout_pieces"] >= 2 * 11
    assert found["chosen"]["heldout_pieces"] >= 11


def pmp_from(source: str, pairs: str, workdir: str, **model) -> TrainConfig:
    config = tiny_config(
        workdir=workdir,
        data=DataConfig(input=pairs, max_length=32),
        num_steps=2,
        eval_pairs=0,
        checkpoint=CheckpointConfig(every_steps=1),
    )
    model = dataclasses.replace(config.model, init_from=source, **model)
    return load.resolve(dataclasses.replace(config, model=model))


def params_at_start(config: TrainConfig):
    """What the run's first step begins with."""
    run = Run(config)
    try:
        return jax.device_get(run.start(load.params_loader(config)).state.params)
    finally:
        run.close()


def test_pmp_starts_from_it_with_a_new_score_head(lm_run, pairs, tmp_path, caplog):
    """Drawn as that of a new run, also where the language model's own, which nothing trained, was not 0."""
    config = pmp_from(lm_run.workdir, pairs, str(tmp_path / "pmp"), score_init_std=0.7)
    assert config.model.vocab_size == 4096
    with caplog.at_level(logging.INFO, "codepmp_jax"):
        params = params_at_start(config)
    assert "the score head is new, from N(0, 0.7^2)" in caplog.text
    drawn = np.random.default_rng(config.seed).standard_normal((32, 1), np.float32)
    np.testing.assert_allclose(params["score"]["kernel"], 0.7 * drawn, rtol=1e-6)
    with pytest.raises(UserError, match="must be a reward model with init pmp"):
        load.resolve(dataclasses.replace(config, init="pmp"))
    model = dataclasses.replace(config.model, init_from=None, base=lm_run.workdir)
    base = dataclasses.replace(config, workdir=str(tmp_path / "base"), model=model, init="base")
    again = params_at_start(load.resolve(base))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    zero = pmp_from(lm_run.workdir, pairs, str(tmp_path / "zero"), score_init_std=0.0)
    params = params_at_start(zero)
    assert not params["score"]["kernel"].any()
    assert math.isfinite(loop.train(zero, load.params_loader(zero))["pair_loss"])


def test_a_trained_score_head_outlives_language_modelling(finished, lm_run, pairs, tmp_path):
    """PMP, then the LM alone, then PMP: the head is PMP's, which no step in between touched."""
    middle = dataclasses.replace(
        lm_run,
        workdir=str(tmp_path / "middle"),
        num_steps=1,
        eval_pairs=0,
        checkpoint=CheckpointConfig(every_steps=1),
        model=dataclasses.replace(lm_run.model, init_from=finished.workdir),
    )
    middle = load.resolve(middle)
    loop.train(middle, load.params_loader(middle))
    assert load.has_trained_score(middle.workdir)
    assert not load.has_trained_score(lm_run.workdir)
    start = params_at_start(pmp_from(middle.workdir, pairs, str(tmp_path / "last")))
    head = params_at_start(pmp_from(finished.workdir, pairs, str(tmp_path / "kept")))
    np.testing.assert_array_equal(start["score"]["kernel"], head["score"]["kernel"])
    assert start["score"]["kernel"].any()


def test_its_folder_is_a_causal_lm_with_the_same_loss(lm_run, tmp_path):
    """transformers' loss on the held-out documents, encoded by AutoTokenizer, is the run's last evaluation."""
    convert = ConvertConfig(run=lm_run.workdir, output=str(tmp_path / "hf"))
    figures: list[str] = []
    folder = to_hf(convert, make_check(convert, figures))
    assert re.fullmatch(r": tokens of \d+ texts .* PyTorch \d\S+ \(logits\)", figures[0])
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]
    card = (folder / "README.md").read_text()
    assert "language modelling of documents, without rewards" in card
    assert "reward-model" not in card
    assert "apply_chat_template" not in card
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == Tokenizer.load("embedded").chat_template
    documents = ShardedDataset(lm_run.data.input, SourceFile, "heldout")
    texts = [
        np.array([*tokenizer(record.content)["input_ids"], tokenizer.eos_token_id], np.int32)
        for record in documents
        if record.content
    ]
    total, labels = nll_of_pieces(model, texts, lm_run.data.max_length)
    assert rows(lm_run)[-1]["eval_lm_loss"] == pytest.approx(total / labels, rel=1e-4)


def test_eos_may_be_pad_from_training_to_the_folder(lm_run, tmp_path):
    source = tmp_path / "tokenizer"
    Tokenizer.load("embedded").save(source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["pad_token"] = settings["eos_token"]
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    config = dataclasses.replace(
        lm_run,
        workdir=str(tmp_path / "run"),
        data=dataclasses.replace(lm_run.data, tokenizer=str(source)),
        num_steps=1,
    )
    loop.train(config)
    convert = ConvertConfig(run=config.workdir, output=str(tmp_path / "hf"))
    to_hf(convert, make_check(convert, []))
