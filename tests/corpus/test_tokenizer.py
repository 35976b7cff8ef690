"""The embedded tokenizer and its training."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, TokenizerConfig
from codepmp_jax.corpus import tokenizer as trained
from codepmp_jax.text.tokenizer_files import EMBEDDED

BACKEND = tokenizers.Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))


def pieces(text: str) -> list[str]:
    return [BACKEND.decode([token]) for token in BACKEND.encode(text).ids]


@given(st.text(max_size=60))
def test_any_text_survives(text):
    assert BACKEND.decode(BACKEND.encode(text).ids, skip_special_tokens=False) == text


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_no_token_joins_the_template_and_the_response(response):
    prefix = DataConfig().template.format(prompt="Adds.", response="")
    whole = BACKEND.encode(prefix + response).ids
    assert whole == BACKEND.encode(prefix).ids + BACKEND.encode(response).ids


@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_indentation_is_one_token(width):
    assert pieces("\n" + " " * width + "return x") == [
        "\n",
        " " * (width - 1),
        " return",
        " x",
    ]


def test_digits_stand_alone_and_common_code_is_short():
    assert pieces("x=1234") == ["x", "=", "1", "2", "3", "4"]
    assert pieces("    def __init__(self):")[-1] == "):"


def test_asset_is_what_the_code_writes():
    assert BACKEND.get_vocab_size() == TokenizerConfig().vocab_size
    assert [BACKEND.id_to_token(i) for i in range(4)] == list(trained.SPECIAL_TOKENS)
    settings = json.loads((EMBEDDED / "tokenizer_config.json").read_text())
    assert settings == trained.tokenizer_settings(TokenizerConfig().model_max_length)


def test_transformers_opens_it():
    transformers = pytest.importorskip("transformers")
    opened = transformers.AutoTokenizer.from_pretrained(EMBEDDED)
    text = "def f(x):\n        return {'a': x[1:]}\n\t# é"
    assert opened(text)["input_ids"] == BACKEND.encode(text).ids
    assert (opened.eos_token_id, opened.pad_token_id) == (0, 1)
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    assert opened.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    )


def test_training_is_deterministic():
    texts = [f"def name_{i}(self, value{i % 7}):\n    return value + {i}" for i in range(400)]
    first, second = (trained.train_bpe(texts, 280).to_str() for _ in range(2))
    assert first == second


def test_too_little_text_for_the_vocabulary_is_a_user_error():
    with pytest.raises(UserError, match="vocab_size = 4096"):
        trained.train_bpe(["abc abc"], 4096)
