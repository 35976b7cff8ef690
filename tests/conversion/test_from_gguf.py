"""GGUF file -> Hugging Face folder, against the model and tokenizer that the file was written of."""

from __future__ import annotations

import importlib.metadata
import pathlib

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import FromGgufConfig
from codepmp_jax.conversion.from_gguf import find_file, from_gguf
from codepmp_jax.text.tokenization import Tokenizer

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("i", "f"), ("Ġ", "if")]
TOKENS = [*CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, MERGES)]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
LAYERS, HEADS, KV_HEADS, HEAD_DIM = 2, 4, 2, 16
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=HEADS * HEAD_DIM,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        rope_theta=100_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of a query or key matrix in llama.cpp's order, which rotates neighbours and not halves."""
    halves = weight.reshape(num_heads, 2, -1, weight.shape[-1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    path: pathlib.Path, model: LlamaForCausalLM, pre: str = "smollm", arch: str = "llama"
) -> pathlib.Path:
    """As llama.cpp's converter writes it; the matrices of the MLP are quantized to 8 bits."""
    writer = GGUFWriter(path, arch)
    config, weights = model.config, model.state_dict()
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(100_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)))
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for name, own in NAMES.items():
            array = weights[f"model.layers.{layer}.{own}.weight"].numpy()
            if name in ("attn_q", "attn_k"):
                array = interleaved(array, HEADS if name == "attn_q" else KV_HEADS)
            if name.startswith("ffn_") and name != "ffn_norm":
                kind = GGMLQuantizationType.Q8_0
                writer.add_tensor(
                    f"blk.{layer}.{name}.weight", gguf.quantize(array, kind), raw_dtype=kind
                )
            else:
                writer.add_tensor(f"blk.{layer}.{name}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> pathlib.Path:
    where = tmp_path_factory.mktemp("gguf")
    file = write_gguf(where / "tiny.gguf", model)
    return from_gguf(FromGgufConfig(input=str(file), output=str(where / "hf")))


def test_the_folder_computes_what_the_model_does(folder, model):
    written, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
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
    with pytest.raises(UserError, match="output = .*: exists"):
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
