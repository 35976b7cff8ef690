from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ConvertConfig
from codepmp_jax.conversion import export
from codepmp_jax.files import storage
from codepmp_jax.models.preference import abstract_params, one_text_rows
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text import forms
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.runs import STEP, write_run
from tests.conversion.test_chat_template import with_special_tokens
from tests.training.reference import tiny_config


def write_pairs(folder, kinds: list[bool]) -> None:
    """Pairs that are conversations or texts."""
    pairs = [PreferencePair(str(i), "[]", "[]", "[]", kind) for i, kind in enumerate(kinds)]
    write_manifest(folder, PreferencePair, {"train": write_split(folder, "train", pairs, 1)}, {})


@pytest.mark.parametrize(
    ("kinds", "form"), [([False] * 3, "text"), ([True] * 3, "conversation"), (None, "text")]
)
def test_the_form_is_that_of_the_pairs(tmp_path, kinds, form):
    if kinds is not None:
        write_pairs(tmp_path / "pairs", kinds)
    config = tiny_config(data__input=str(tmp_path / "pairs"))
    convert = ConvertConfig(run=str(tmp_path / "run"))
    assert export.form_of_run(convert, config) == form
    assert export.form_of_run(dataclasses.replace(convert, chat_template="text"), config) == "text"


def test_the_form_that_the_run_recorded_comes_first(tmp_path):
    config = tiny_config(data__input=str(tmp_path / "gone"))
    forms.write_form(tmp_path, forms.of_data(config.data, "conversation"))
    assert export.form_of_run(ConvertConfig(run=str(tmp_path)), config) == "conversation"


def test_both_kinds_of_pairs_are_for_the_user_to_decide(tmp_path):
    write_pairs(tmp_path / "pairs", [True, False])
    config = tiny_config(data__input=str(tmp_path / "pairs"))
    with pytest.raises(UserError, match="on both texts and conversations"):
        export.form_of_run(ConvertConfig(run=str(tmp_path)), config)
    convert = ConvertConfig(run=str(tmp_path), chat_template="text")
    assert export.form_of_run(convert, config) == "text"


def test_the_config_names_the_tokens_of_the_tokenizer(tmp_path):
    tokenizer = with_special_tokens("bos", tmp_path / "tokenizer")
    config = tiny_config(workdir=str(tmp_path / "run"), model__vocab_size=4096)
    write_run(config, tokenizer)
    folder = export.to_hf(ConvertConfig(run=config.workdir, output=str(tmp_path / "hf")))
    hf: Any = AutoConfig.from_pretrained(folder)
    assert hf.bos_token_id == tokenizer.backend.token_to_id("<|im_start|>")
    assert (hf.eos_token_id, hf.pad_token_id) == (tokenizer.eos_id, tokenizer.pad_id)
    assert (hf.num_labels, hf.problem_type) == (1, "regression")
    assert Tokenizer.load(str(folder)).special_tokens["bos_token"] == "<|im_start|>"
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.score.weight.shape == (1, 32)
    facts = json.loads((folder / "codepmp_jax.json").read_text())
    assert (facts["step"], facts["chat_template"]) == (STEP, "text")
    assert "pipeline_tag: text-classification" in (folder / "README.md").read_text()


def test_a_folder_in_a_bucket_is_refused(tmp_path):
    with pytest.raises(UserError, match="output = 'gs://b/f': must be a folder on a disk"):
        export.to_hf(ConvertConfig(run=str(tmp_path), output="gs://b/f"))


def test_a_disk_without_room_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    config = tiny_config(workdir=str(tmp_path / "run"), model__vocab_size=4096)
    write_run(config)
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 10**6)
    convert = ConvertConfig(run=config.workdir, output=str(tmp_path / "hf"))
    with pytest.raises(UserError, match=r"needs 1 MB, but its disk has 1 MB left"):
        export.to_hf(convert)
    assert not (tmp_path / "hf").exists()
    assert not list((tmp_path / "hf.partial").glob("*"))


def test_a_run_in_a_bucket_is_converted_and_its_chain_followed(bucket, tmp_path):
    start = {"model": {"init_from": "Qwen/Qwen2-7B"}}
    bucket.put("start/config.json", json.dumps(start).encode())
    config = tiny_config(
        workdir=str(tmp_path / "run"),
        model__vocab_size=4096,
        model__init_from="gs://code/start",
        data__input="gs://code/gone",
    )
    write_run(config)
    forms.write_form(config.workdir, forms.of_data(config.data, "conversation"))
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            bucket.put(f"run/{path.relative_to(tmp_path / 'run')}", path.read_bytes())
    folders = [
        export.to_hf(ConvertConfig(run=run, output=str(tmp_path / name)))
        for name, run in (("disk", config.workdir), ("bucket", "gs://code/run"))
    ]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    facts = json.loads((folders[1] / "codepmp_jax.json").read_text())
    assert (facts["run"], facts["chat_template"]) == ("gs://code/run", "conversation")
    card = (folders[1] / "README.md").read_text()
    assert "# run, step" in card
    assert "base_model: Qwen/Qwen2-7B" in card


def test_a_token_classifier_gives_the_rewards_of_tokens(tmp_path):
    """As transformers opens it, and computes its logits."""
    config = tiny_config(workdir=str(tmp_path / "run"), model__vocab_size=4096)
    params = write_run(config)
    convert = ConvertConfig(run=config.workdir, output=str(tmp_path / "hf"), heads="tokens")
    model: Any = AutoModelForTokenClassification.from_pretrained(export.to_hf(convert))
    tokens = np.arange(5, 29)[None]
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(tokens)).logits[..., 0].numpy()
    graph, _, _ = abstract_params(config.model)
    network = nnx.merge(graph, jax.tree.map(jnp.asarray, params))
    rows = one_text_rows(jnp.ones(tokens.shape, bool))
    hidden = network(jnp.asarray(tokens), *rows)
    expected = network.rewards(hidden, jnp.arange(tokens.shape[1])[None])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
