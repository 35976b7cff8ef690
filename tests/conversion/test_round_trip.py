from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import torch
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ConvertConfig, TrainConfig, presets
from codepmp_jax.conversion import export, load, tensors
from codepmp_jax.conversion.verify import verify
from codepmp_jax.models.preference import abstract_params
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def run(request, tmp_path_factory) -> tuple[TrainConfig, dict]:
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("run")),
        model__vocab_size=4096,
        model__tie_embeddings=request.param,
    )
    return config, write_run(config)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("hf") / "folder"
    return export.to_hf(ConvertConfig(run=run[0].workdir, output=str(output)))


def abstract(config: TrainConfig):
    sharding = SingleDeviceSharding(jax.devices()[0])
    _, shapes, _ = abstract_params(config.model)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def test_there_and_back_is_bit_exact(run, folder):
    config, params = run
    resolved = load.resolve(
        dataclasses.replace(
            tiny_config(),
            model=dataclasses.replace(config.model, init_from=str(folder), mlp_dim=999),
        )
    )
    assert resolved.model == dataclasses.replace(config.model, init_from=str(folder))
    assert resolved.data.tokenizer == str(folder)
    loader = load.params_loader(resolved)
    assert loader is not None
    jax.tree.map(np.testing.assert_array_equal, loader(abstract(resolved)), params)


def test_init_from_a_run_is_bit_exact(run):
    config, params = run
    model = dataclasses.replace(tiny_config().model, init_from=config.workdir)
    resolved = load.resolve(tiny_config(model=model))
    assert resolved.model.vocab_size == 4096
    loader = load.params_loader(resolved)
    assert loader is not None
    jax.tree.map(np.testing.assert_array_equal, loader(abstract(resolved)), params)


def test_the_folder_is_complete(run, folder):
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "codepmp_jax.json"} <= names
    tokenizer = AutoTokenizer.from_pretrained(folder)
    hf = json.loads((folder / "config.json").read_text())
    assert tokenizer.pad_token_id == hf["pad_token_id"]
    saved = json.loads((folder / "codepmp_jax.json").read_text())
    assert saved["step"] == 3
    assert presets.from_json(TrainConfig, saved["config"], "saved") == run[0]
    tensors = load_file(folder / "model.safetensors")
    assert tensors["score.weight"].shape == (1, 32)
    assert ("lm_head.weight" in tensors) == (not run[0].model.tie_embeddings)


def test_bfloat16_folder_verifies(run, tmp_path):
    convert = ConvertConfig(run=run[0].workdir, output=str(tmp_path / "hf"), dtype="bfloat16")
    errors = []
    export.to_hf(
        convert,
        lambda folder, config, load: errors.append(
            verify(folder, config.model, config.data, load, "bfloat16")
        ),
    )
    assert 1e-4 < errors[0].rewards.value < 5e-2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert model.dtype == torch.bfloat16


def test_a_folder_that_fails_its_check_gets_no_name(run, tmp_path):
    def refuse(*_):
        raise UserError("differs")

    with pytest.raises(UserError, match="differs"):
        export.to_hf(ConvertConfig(run=run[0].workdir, output=str(tmp_path / "hf")), refuse)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(("heads", "rm_coef"), [("auto", 0.0), ("lm", 1.0)])
def test_a_run_without_pair_loss_becomes_a_causal_lm(tmp_path, heads, rm_coef):
    config = tiny_config(
        workdir=str(tmp_path / "run"), model__vocab_size=4096, loss__rm_coef=rm_coef
    )
    write_run(config)
    found = []
    folder = export.to_hf(
        ConvertConfig(run=config.workdir, output=str(tmp_path / "hf"), heads=heads),
        lambda folder, config, load: found.append(
            verify(folder, config.model, config.data, load, "float32")
        ),
    )
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]
    assert "score.weight" not in load_file(folder / "model.safetensors")
    assert found[0].rewards is None
    assert 0 < found[0].logits.value < 1e-4
    loaded: Any = Qwen2ForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert model.lm_head.weight.shape == (4096, 32)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_several_safetensors_and_an_index(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_MAX_FILE_BYTES", 20_000)
    output = export.to_hf(ConvertConfig(run=run[0].workdir, output=str(tmp_path / "hf")))
    files = sorted(file.name for file in output.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    model = AutoModelForCausalLM.from_pretrained(output)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.fixture
def base(tmp_path) -> pathlib.Path:
    """A folder as Hugging Face writes it: Qwen2ForCausalLM with tied embeddings, no score head."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def resolve(base: pathlib.Path, **changes) -> TrainConfig:
    return load.resolve(tiny_config(model__init_from=str(base), **changes))


def test_a_base_model_gets_its_heads(base, caplog):
    config = resolve(base)
    with caplog.at_level("INFO", "codepmp_jax"):
        loader = load.params_loader(config)
        assert loader is not None
        params = loader(abstract(config))
    np.testing.assert_array_equal(params["lm_head"]["kernel"], params["decoder"]["embedding"].T)
    assert np.std(params["score"]["kernel"]) > 0.1
    assert "has no LM head" in caplog.text
    assert "has no score head" in caplog.text
    zero = resolve(base, model__tie_embeddings=True)
    zero = dataclasses.replace(zero, model=dataclasses.replace(zero.model, score_init_std=0.0))
    loader = load.params_loader(zero)
    assert loader is not None
    params = loader(abstract(zero))
    assert "lm_head" not in params
    assert not np.any(params["score"]["kernel"])


def test_bad_folders_are_named(base, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        resolve(empty)
    config = resolve(base)
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    kernel = tensors.pop(name)
    save_file(tensors, base / "model.safetensors")
    loader = load.params_loader(config)
    assert loader is not None
    with pytest.raises(UserError, match=f"lacks the tensor '{name}'"):
        loader(abstract(config))
    save_file(tensors | {name: kernel[:, :-1].copy()}, base / "model.safetensors")
    with pytest.raises(UserError, match=r"shape of .*k_proj.weight"):
        loader(abstract(config))
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"model_type": "gpt2"}))
    with pytest.raises(UserError, match="model_type = 'gpt2'"):
        resolve(base)
    (base / "config.json").write_text(json.dumps(settings | {"use_sliding_window": True}))
    with pytest.raises(UserError, match="use_sliding_window"):
        resolve(base)


def test_a_folder_of_someone_else_is_not_overwritten(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="no folder that this command wrote"):
        export.to_hf(ConvertConfig(run=run[0].workdir, output=str(tmp_path)))
    with pytest.raises(UserError, match="there is no such checkpoint"):
        export.to_hf(ConvertConfig(run=run[0].workdir, output=str(tmp_path / "hf"), step=7))
