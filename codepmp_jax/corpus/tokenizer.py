"""Trains the byte-level BPE tokenizer on a corpus: the embedded one comes from here."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, TokenizerConfig
from codepmp_jax.files import output as outputs
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import ShardedDataset

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, TURN_START, TURN_END)

# Where a token may not reach across: words (with the sign or space before them, so that
# snake_case falls into words), single digits, runs of signs, line ends, and indentation up to the
# space before the next word. A colon ends a run, so that `Response:` never joins the response.
_SPLIT = "|".join(
    (
        r"[^\r\n\p{L}\p{N}:]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}:]+:?",
        r" ?:",
        r"[\r\n]+",
        r"[^\S\r\n]+(?!\S)",
        r"\s+",
    )
)

# A turn is <|im_start|>ROLE, its text on lines of its own, <|im_end|>.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE with the special tokens first; any text survives encoding and decoding.

    The same texts in the same order give the same tokenizer. Raises UserError where the texts have too
    few different pairs of bytes to fill the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[
            AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS
        ],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=True,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise UserError(
            f"vocab_size = {vocab_size}: the texts fill only {tokenizer.get_vocab_size()} tokens. "
            "Remedy: give more text or a smaller vocab_size."
        )
    return tokenizer


def tokenizer_settings(model_max_length: int) -> dict[str, Any]:
    """What tokenizer_config.json says to `AutoTokenizer.from_pretrained`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "additional_special_tokens": [TURN_START, TURN_END],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def train_tokenizer(config: TokenizerConfig) -> dict[str, int]:
    """Writes tokenizer.json and tokenizer_config.json; returns counts for the summary.

    Trains on the rows of the train split as the default template writes them, response = code.
    """
    dataset = ShardedDataset(config.input, SourceFile, "train")
    with outputs.folder(config.output) as output:
        return _train(config, dataset, output)


def _train(
    config: TokenizerConfig, dataset: ShardedDataset, output: pathlib.Path
) -> dict[str, int]:
    template = DataConfig().template
    texts = [
        template.format(prompt=source.description, response=source.content) for source in dataset
    ]
    tokenizer = train_bpe(texts, config.vocab_size)
    # tokenizer_config.json first: without tokenizer.json the folder is no tokenizer.
    with storage.replaced(output / "tokenizer.json") as partial:
        with storage.storage_errors(partial, "written"):
            tokenizer.save(str(partial))
        write_json(output / "tokenizer_config.json", tokenizer_settings(config.model_max_length))
    num_tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    return {
        "num_texts": len(texts),
        "num_chars": sum(len(text) for text in texts),
        "num_tokens": num_tokens,
    }
