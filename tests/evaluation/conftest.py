import json

import pytest
import tokenizers
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from codepmp_jax.config import DataConfig, ModelConfig, TrainConfig, presets

WORDS = ["<eos>", "<pad>", "Q", "A", ":", *"abcdefghijklmnop"]
TEMPLATE = "Q : {prompt} A : {response}"


def write_reward_model(
    folder,
    *,
    family="qwen2",
    max_length=64,
    append_eos=True,
    pad="<pad>",
    num_words=None,
    **settings,
):
    """A tiny random reward model over WORDS, in `folder` as conversion writes it; `settings` are transformers'."""
    torch.manual_seed(0)
    vocab_size = num_words or len(WORDS)
    config = AutoConfig.for_model(
        family,
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=WORDS.index(pad),
        initializer_range=0.3,
        **settings,
    )
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    vocab = {word: place for place, word in enumerate(WORDS)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="p"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<eos>", "<pad>"])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<eos>", "pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    data = DataConfig(template=TEMPLATE, append_eos=append_eos, max_length=max_length)
    run = TrainConfig(data=data, model=ModelConfig(vocab_size=vocab_size))
    made = {"config": presets.to_json(run), "step": 3}
    (folder / "codepmp_jax.json").write_text(json.dumps(made))
    return folder


@pytest.fixture
def words():
    """Token id -> word of the tiny reward model."""
    return WORDS


@pytest.fixture
def reward_model(tmp_path):
    """Writes a tiny random reward model with the given changes; gives its folder."""
    folder = tmp_path / "reward_model"
    folder.mkdir()
    return lambda **changes: write_reward_model(folder, **changes)


@pytest.fixture(scope="session")
def plain_reward_model(tmp_path_factory):
    """Folder of a tiny random reward model, to be read only."""
    return write_reward_model(tmp_path_factory.mktemp("reward_model"))
