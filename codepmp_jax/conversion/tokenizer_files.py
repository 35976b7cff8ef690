"""The tokenizer of a Hugging Face folder: other programs get training's tokens from it."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from typing import Any

from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.chat_template import is_exact, make_template
from codepmp_jax.files.json_files import write_json
from codepmp_jax.text.tokenization import Tokenizer

logger = logging.getLogger("codepmp_jax")

# From transformers 5 on, AutoTokenizer reads of a qwen2 folder the vocabulary and the merges only, and splits
# words as Qwen2's own tokenizer does, whatever tokenizer.json says.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CODE = '''\
"""Lets AutoTokenizer read tokenizer.json as it is."""

from transformers import PreTrainedTokenizerFast


class WholeTokenizer(PreTrainedTokenizerFast):
    """Of a model type to which AutoTokenizer gives a tokenizer of its own."""
'''


def _is_qwen2s_own(tokenizer: Tokenizer) -> bool:
    definition = json.loads(tokenizer.definition)
    steps = (definition.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    normalizer = definition.get("normalizer") or {}
    return normalizer.get("type") == "NFC" and steps[0].get("pattern") == {"Regex": _QWEN2_SPLIT}


def write(folder: pathlib.Path, tokenizer: Tokenizer, config: TrainConfig, form: str) -> None:
    """Writes the tokenizer's files. `form`: whether the chat template is data.template's (`text`) or the
    tokenizer's own (`conversation`)."""
    # Flags that would have transformers put other special tokens around a text than tokenizer.json.
    settings: dict[str, Any] = {
        name: value
        for name, value in tokenizer.settings.items()
        if name not in ("add_bos_token", "add_eos_token", "chat_template", "auto_map")
    }
    # Else transformers 4 gives token types too, which decoders do not take.
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    template = tokenizer.chat_template
    if form == "text":
        template = make_template(tokenizer, config.data)
    tokenizer = dataclasses.replace(tokenizer, chat_template=template, settings=settings)
    if form == "text" and not is_exact(tokenizer, config.data):
        logger.warning(
            "the tokens of the chat template are not those of training with this tokenizer: score the text of "
            "a row with tokenizer(text)"
        )
    tokenizer.save(folder)
    if config.model.family == "qwen2" and not _is_qwen2s_own(tokenizer):
        # The entry alone has AutoTokenizer keep to tokenizer_class; the code is for trust_remote_code.
        path = folder / "tokenizer_config.json"
        saved = json.loads(path.read_text(encoding="utf-8"))
        saved |= {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "auto_map": {"AutoTokenizer": [None, "whole_tokenizer.WholeTokenizer"]},
        }
        write_json(path, saved)
        (folder / "whole_tokenizer.py").write_text(_CODE, encoding="utf-8")
