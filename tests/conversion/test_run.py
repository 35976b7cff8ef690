"""Hugging Face folder -> training run, and parts of a folder for the devices of a mesh."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ConvertConfig, FromHfConfig, MeshConfig, TrainConfig
from codepmp_jax.conversion import export, load
from codepmp_jax.conversion import run as conversion
from codepmp_jax.conversion.run import from_hf
from codepmp_jax.conversion.tensors import Tensors
from codepmp_jax.devices import sharding
from codepmp_jax.models.preference import abstract_params
from codepmp_jax.text import forms
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config

MESHES = [(8, 1), (2, 2), (1, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[TrainConfig, dict]:
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("run")),
        model__vocab_size=4096,
        data__template="{prompt}\n{response}",
        data__append_eos=True,
    )
    return config, write_run(config)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("hf") / "folder"
    return export.to_hf(ConvertConfig(run=run[0].workdir, output=str(output)))


@pytest.fixture(scope="module")
def back(folder, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("back") / "run"
    return from_hf(FromHfConfig(input=str(folder), output=str(output)))


def abstract(config: TrainConfig, fsdp: int, tensor: int):
    """The parameters on a mesh of all devices."""
    sizes = sharding.mesh_sizes(MeshConfig(data=-1, fsdp=fsdp, tensor=tensor), jax.device_count())
    _, shapes, axes = abstract_params(config.model)
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        sharding.param_shardings(axes, sharding.make_mesh(sizes)),
    )


@pytest.mark.parametrize(("fsdp", "tensor"), MESHES)
def test_a_mesh_restores_the_run_that_a_folder_became(run, back, fsdp, tensor):
    config, params = run
    target = abstract(config, fsdp, tensor)
    restored = Checkpointer(str(back)).restore_params(target)
    jax.tree.map(np.testing.assert_array_equal, restored, params)
    model = dataclasses.replace(tiny_config().model, init_from=str(back))
    resolved = load.resolve(tiny_config(model=model))
    loader = load.params_loader(resolved)
    assert loader is not None
    loaded = loader(target)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    wanted = [leaf.sharding for leaf in jax.tree.leaves(target)]
    assert [leaf.sharding for leaf in jax.tree.leaves(loaded)] == wanted


@pytest.mark.parametrize(("fsdp", "tensor"), MESHES)
def test_a_device_reads_its_part_of_a_folder(run, folder, monkeypatch, fsdp, tensor):
    """No more at a time than a layer's part of a device, and every part of a weight once."""
    config, params = run
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, init_from=str(folder))
    )
    target = abstract(config, fsdp, tensor)
    sizes: dict[str, int] = {}
    read = Tensors.read

    def counted(self, name, index):
        part = read(self, name, index)
        sizes[name] = sizes.get(name, 0) + part.size
        if name == "model.layers.0.mlp.gate_proj.weight":
            assert part.size == np.prod(
                params["decoder"]["layers"]["mlp"]["gate"]["kernel"].shape[1:]
            ) // (fsdp * tensor)
        return part

    monkeypatch.setattr(Tensors, "read", counted)
    loaded = load.load_folder(config.model, target, 0)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    tensors = load_file(folder / "model.safetensors")
    assert sizes == {name: tensor.size for name, tensor in tensors.items()}


def test_there_and_back_again_is_the_same_folder(folder, back, tmp_path):
    again = export.to_hf(ConvertConfig(run=str(back), output=str(tmp_path / "again")))
    ours, theirs = (load_file(at / "model.safetensors") for at in (again, folder))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (again / name).read_text() == (folder / name).read_text()
    # How texts are formed came along.
    saved = json.loads((again / "codepmp_jax.json").read_text())["config"]
    assert saved["data"]["template"] == "{prompt}\n{response}"
    assert saved["data"]["append_eos"] is True
    assert saved["data"]["tokenizer"] == str(back / "tokenizer")


@pytest.fixture
def base(tmp_path) -> pathlib.Path:
    """A folder as Hugging Face writes it: Qwen2ForCausalLM with tied embeddings, no score head."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=4096,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    folder = tmp_path / "base"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    Tokenizer.load("embedded").save(folder)
    return folder


@pytest.mark.parametrize("tied", [False, True])
def test_a_base_model_gets_its_heads(base, tmp_path, tied):
    run = from_hf(
        FromHfConfig(
            input=str(base), output=str(tmp_path / "run"), tie_embeddings=tied, score_init_std=0.5
        )
    )
    _, _, params = export.load_run(str(run), None)
    assert ("lm_head" in params) == (not tied)
    if not tied:
        np.testing.assert_array_equal(params["lm_head"]["kernel"], params["decoder"]["embedding"].T)
    assert 0.3 < np.std(params["score"]["kernel"]) < 0.7


def test_tensors_without_a_place_are_named(base, tmp_path, caplog):
    tensors = load_file(base / "model.safetensors")
    save_file(tensors | {"v_head.weight": np.zeros(3, np.float32)}, base / "model.safetensors")
    from_hf(FromHfConfig(input=str(base), output=str(tmp_path / "run")))
    assert "1 tensors have no place in the model and are left out: v_head.weight" in caplog.text


def test_mistakes_leave_nothing_behind(base, back, tmp_path, monkeypatch):
    def convert(source: object, output: str = "run") -> None:
        from_hf(FromHfConfig(input=str(source), output=str(tmp_path / output)))

    with pytest.raises(UserError, match=r"input = .*is a training run already"):
        convert(back)
    with pytest.raises(UserError, match=r"output = .*exists"):
        convert(base, "base")
    with pytest.raises(UserError, match="input = '': must be given"):
        convert("")
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    save_file({n: t for n, t in tensors.items() if n != name}, base / "model.safetensors")
    with pytest.raises(UserError, match=f"lacks the tensor '{name}'"):
        convert(base)
    save_file(tensors | {name: tensors[name].astype(np.int32)}, base / "model.safetensors")
    with pytest.raises(UserError, match=r"dtype of .*k_proj\.weight = 'I32'"):
        convert(base)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("run")]

    # Cut off while it writes.
    save_file(tensors, base / "model.safetensors")

    def cut_off(self, name, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tensors, "read", cut_off)
    with pytest.raises(KeyboardInterrupt):
        convert(base)
    monkeypatch.undo()
    assert not (tmp_path / "run").exists()
    convert(base)
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()
    assert not (tmp_path / "run.partial").exists()


def test_a_run_from_a_folder_keeps_the_form_of_its_texts(run, folder, back, tmp_path):
    config = run[0]
    expected = forms.of_data(config.data, "text")
    assert forms.read_run(back, config.data) == expected
    # Of a folder of others, it is the chat template.
    shutil.copytree(folder, tmp_path / "folder")
    (tmp_path / "folder" / "codepmp_jax.json").unlink()
    output = from_hf(FromHfConfig(input=str(tmp_path / "folder"), output=str(tmp_path / "run")))
    found = forms.read_run(output, config.data)
    limit = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    assert (found.form, found.max_length) == ("conversation", limit)


def test_a_host_of_eight_reads_its_part_of_a_run_that_a_folder_became(
    run, folder, tmp_path, monkeypatch
):
    """The chunks of a parameter end where the parts of hosts do."""
    monkeypatch.setattr(conversion, "LEAST_PIECE_BYTES", 1)
    config, params = run
    back = from_hf(FromHfConfig(input=str(folder), output=str(tmp_path / "run")))
    target = abstract(config, 8, 1)
    opened = Checkpointer(str(back)).open_params(target)

    def check(leaf, stored, array):
        np.testing.assert_array_equal(stored[...], array)
        part = leaf.sharding.shard_shape(leaf.shape)
        chunk = stored._store.chunk_layout.read_chunk.shape
        for whole, own, read in zip(leaf.shape, part, chunk, strict=True):
            assert own == whole or own % read == 0

    jax.tree.map(check, target, opened, params)


def test_hosts_read_little_more_than_their_parts_of_a_large_model():
    """Of 32 hosts each a 32nd; the largest piece of pmp_7b takes 32 MiB, and a small one a MiB."""
    down = (28, 18944, 3584), ("layers", "mlp_rows", None)
    assert conversion._shard(*down) == (28, 296, 3584)
    assert conversion._shard((3584, 152064), ("embed", "vocab")) == (56, 152064)
    key = (28, 3584, 4, 128), ("layers", "embed", "kv_heads", "head_dim")
    assert conversion._shard(*key) == (28, 512, 4, 128)
    assert conversion._shard((28, 3584), ("layers", None)) == (28, 3584)
    assert conversion._shard((3584, 1), ("embed", None)) == (3584, 1)
