"""Writes the tokenizer of a Hugging Face folder, so that other programs get the tokens of training."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from typing import Any

from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.chat_template import is_exact, make_template
from codepmp_jax.families import FAMILIES
from codepmp_jax.files.json_files import write_json
from codepmp_jax.text.tokenization import Tokenizer

logger = logging.getLogger("codepmp_jax")

_CODE = '''\
"""Lets AutoTokenizer read tokenizer.json as it is."""

from transformers import PreTrainedTokenizerFast


class WholeTokenizer(PreTrainedTokenizerFast):
    """For a model type to which AutoTokenizer assigns a tokenizer class that ignores parts of tokenizer.json."""
'''


def _splits_by(tokenizer: Tokenizer, pattern: str) -> bool:
    """Whether tokenizer.json normalises by NFC and then splits words by the regex `pattern`."""
    definition = json.loads(tokenizer.definition)
    steps = (definition.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    normalizer = definition.get("normalizer") or {}
    return normalizer.get("type") == "NFC" and steps[0].get("pattern") == {"Regex": pattern}


def write(folder: pathlib.Path, tokenizer: Tokenizer, config: TrainConfig, form: str) -> None:
    """Writes the tokenizer's files.

    `form` is `text` if the chat template is made from data.template, `conversation` if it is the tokenizer's own.
    """
    # Without flags that make transformers add other special tokens around a text than tokenizer.json does.
    settings: dict[str, Any] = {
        name: value
        for name, value in tokenizer.settings.items()
        if name not in ("add_bos_token", "add_eos_token", "chat_template", "auto_map")
    }
    # Otherwise transformers 4 returns token types too, which decoders do not accept.
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
    split = FAMILIES[config.model.family].tokenizer_split
    if split is not None and not _splits_by(tokenizer, split):
        # The entry alone makes AutoTokenizer use tokenizer_class; the code is for trust_remote_code.
        path = folder / "tokenizer_config.json"
        saved = json.loads(path.read_text(encoding="utf-8"))
        saved |= {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "auto_map": {"AutoTokenizer": [None, "whole_tokenizer.WholeTokenizer"]},
        }
        write_json(path, saved)
        (folder / "whole_tokenizer.py").write_text(_CODE, encoding="utf-8")
