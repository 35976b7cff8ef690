"""GGUF file -> Hugging Face folder, against the model and tokenizer that the file was written of."""

from __future__ import annotations

import importlib.metadata
import pathlib
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import FromGgufConfig
from codepmp_jax.conversion.from_gguf import find_file, from_gguf
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.gguf_files import TEMPLATE, TOKENS, tiny_llama, write_gguf


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> pathlib.Path:
    where = tmp_path_factory.mktemp("gguf")
    file = write_gguf(where / "tiny.gguf", model)
    return from_gguf(FromGgufConfig(input=str(file), output=str(where / "hf")))


def test_the_folder_computes_what_the_model_does(folder, model):
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    written, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert written.dtype == torch.float32
    for name, weight in model.state_dict().items():
        # Half a step of 8 bits, of the largest weight.
        bound = 0.5 * float(weight.abs().max()) / 127 * 1.01 if ".mlp." in name else 1e-7
        assert (written.state_dict()[name] - weight).abs().max() <= bound, name
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        difference = written(tokens).logits - model(tokens).logits
        assert difference.std() < 0.05 * model(tokens).logits.std()


def test_the_tokenizer_splits_numbers_into_digits_before_words(folder):
    tokenizer = Tokenizer.load(str(folder))
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.vocab_size) == (2, 2, len(TOKENS))
    # Words alone would leave the last blank to the digit: three blanks and ` 1`.
    assert tokenizer.backend.encode("    12 if").tokens == ["ĠĠĠĠ", "1", "2", "Ġif"]
    assert tokenizer.backend.encode("<|im_end|>").ids == [2]
    assert tokenizer.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pre": "llama-bpe"}, r"tokenizer\.ggml\.pre = 'llama-bpe': must be one of gpt-2, smollm"),
        ({"arch": "phi3"}, r"general\.architecture = 'phi3': must be one of gemma2, llama"),
    ],
)
def test_what_is_not_known_is_refused_and_leaves_nothing(given, message, model, tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", model, **given)
    with pytest.raises(UserError, match=message):
        from_gguf(FromGgufConfig(input=str(file), output=str(tmp_path / "hf")))
    assert not list(tmp_path.glob("hf*"))


def test_a_file_that_is_no_gguf_and_an_output_that_exists_are_refused(folder, tmp_path):
    file = tmp_path / "other.gguf"
    file.write_text("no such format, but long enough for a header")
    with pytest.raises(UserError, match="is no GGUF file"):
        from_gguf(FromGgufConfig(input=str(file), output=str(tmp_path / "hf")))
    with pytest.raises(UserError, match=r"output = .*: exists"):
        from_gguf(FromGgufConfig(input=str(file), output=str(folder)))


def test_the_file_of_an_installed_package_is_found(tmp_path, monkeypatch):
    (tmp_path / "model.gguf").touch()
    (tmp_path / "notes.txt").touch()
    paths = {"one": ["model.gguf", "notes.txt"], "none": ["notes.txt"]}

    def files(name):
        if name not in paths:
            raise importlib.metadata.PackageNotFoundError(name)
        found = [importlib.metadata.PackagePath(path) for path in paths[name]]
        for path in found:
            path.dist = importlib.metadata.PathDistribution(tmp_path / "one.dist-info")
        return found

    monkeypatch.setattr(importlib.metadata, "files", files)
    assert find_file("one") == tmp_path / "model.gguf"
    for name in ("none", "missing"):
        with pytest.raises(UserError, match=rf"input = '{name}': .*\(it holds 0\)"):
            find_file(name)
