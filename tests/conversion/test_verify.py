from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ConvertConfig, DataConfig, TrainConfig
from codepmp_jax.conversion import export, verify
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config


def converted(folder: pathlib.Path, tied: bool) -> tuple[TrainConfig, dict, pathlib.Path]:
    """A run's config, its parameters, and the folder that it became."""
    config = tiny_config(
        workdir=str(folder / "run"),
        model__vocab_size=4096,
        model__tie_embeddings=tied,
        data__max_length=64,
    )
    params = write_run(config)
    convert = ConvertConfig(run=config.workdir, output=str(folder / "hf"))
    return config, params, export.to_hf(convert)


@pytest.fixture(scope="module")
def untied(tmp_path_factory) -> tuple[TrainConfig, dict, pathlib.Path]:
    return converted(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(scope="module")
def run(untied) -> tuple[TrainConfig, dict]:
    return untied[:2]


@pytest.fixture(scope="module")
def folder(untied) -> pathlib.Path:
    return untied[2]


def require_equal(config: TrainConfig, params: dict, folder: pathlib.Path) -> None:
    errors = verify.verify(folder, config.model, config.data, lambda: params, "float32")
    assert errors.rewards is not None
    assert errors.logits is not None
    assert 0 < max(errors.rewards.value, errors.logits.value) < verify.TOLERANCE["float32"]


def test_every_case_gives_the_same_rewards_and_logits(untied, tmp_path):
    config, params, folder = untied
    require_equal(config, params, folder)
    require_equal(*converted(tmp_path, tied=True))


def test_a_model_trained_in_int8_is_compared_in_float32(untied):
    """Which is what the folder's users compute."""
    config, params, folder = untied
    model = dataclasses.replace(config.model, int8_forward=True)
    require_equal(dataclasses.replace(config, model=model), params, folder)


def test_the_cases(run, folder):
    """Every batch size on both sides, pads that are EOS, an EOS inside a text, lengths that differ."""
    config, tokenizer = run[0], Tokenizer.load(str(folder))
    rows = verify.make_rows(tokenizer, config.data)
    assert len({len(row) for row in rows}) > 2
    assert any(tokenizer.eos_id in row[1:-1] for row in rows)
    found = {
        (case.batch_size, case.side, case.pad_id)
        for case in verify.cases(5, tokenizer, config.data)
    }
    for side in ("left", "right"):
        for size in range(1, 6):
            assert (size, side, tokenizer.pad_id) in found
        assert (5, side, tokenizer.eos_id) in found
    ends = DataConfig(append_eos=True, max_length=1024)
    assert all(row[-1] == tokenizer.eos_id for row in verify.make_rows(tokenizer, ends)[:3])
    assert {case.pad_id for case in verify.cases(5, tokenizer, ends)} == {tokenizer.pad_id}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.layers.1.mlp.up_proj.weight", "rewards differ .*text"),
        ("score.weight", "rewards differ"),
        ("lm_head.weight", "logits differ"),
    ],
)
def test_a_changed_tensor_is_found(run, folder, tmp_path, name, said):
    shutil.copytree(folder, tmp_path / "folder")
    path = tmp_path / "folder" / "model.safetensors"
    tensors = load_file(path)
    tensors[name] *= np.float32(1.01)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"{said}.*batches of \d, padded on the"):
        verify.verify(tmp_path / "folder", run[0].model, run[0].data, lambda: run[1], "float32")


def test_a_wrong_pad_token_is_found(run, folder, monkeypatch):
    """Of a text that ends in what the model takes for padding, the reward is read elsewhere."""
    real = verify.make_rows

    def ending_in_pad(tokenizer, data):
        rows = real(tokenizer, data)
        rows[1] = np.array([5, 6, tokenizer.pad_id], np.int32)
        return rows

    monkeypatch.setattr(verify, "make_rows", ending_in_pad)
    with pytest.raises(UserError, match=r"rewards differ .*\(text 1, "):
        verify.verify(folder, run[0].model, run[0].data, lambda: run[1], "float32")


def test_nothing_is_worse_than_nan(run, folder):
    broken = {**run[1], "score": {"kernel": np.full_like(run[1]["score"]["kernel"], np.nan)}}
    with pytest.raises(UserError, match="rewards differ"):
        verify.verify(folder, run[0].model, run[0].data, lambda: broken, "float32")
