"""Writes the tokenizer of a Hugging Face folder, so that AutoTokenizer gives the tokens of training.

Training encodes by tokenizer.json alone, and so must the folder's users. transformers alters that in several ways,
which depend on the model's family and on entries of tokenizer_config.json:

- a tokenizer class (LlamaTokenizer, GemmaTokenizer, Qwen2Tokenizer) keeps the vocabulary of tokenizer.json and
  replaces its normalizer and pre-tokenizer;
- flags (add_bos_token, add_prefix_space, legacy, ...) change what is put around or before a text;
- tokens that the config names and tokenizer.json lacks are added to the vocabulary.

So the folder names the class that reads tokenizer.json whole, for every family, and of the config only what changes
no token is kept.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from typing import Any

from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.chat_template import find_template, of_conversations
from codepmp_jax.families import FAMILIES
from codepmp_jax.files.json_files import write_json
from codepmp_jax.text.tokenization import Tokenizer

logger = logging.getLogger("codepmp_jax")

_CLASS = "PreTrainedTokenizerFast"
# Entries of tokenizer_config.json that are kept, besides special tokens: they change no token of a text.
_KEPT = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
)
_NEEDED = ("bos_token", "eos_token", "pad_token")
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


def _added(tokenizer: Tokenizer) -> set[str]:
    """The tokens that tokenizer.json adds to its model's vocabulary, special ones above all."""
    return {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}


def _kept_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """tokenizer_config.json without what would change tokens."""
    settings = {name: tokenizer.settings[name] for name in _KEPT if name in tokenizer.settings}
    added = _added(tokenizer)
    for name in ("additional_special_tokens", "extra_special_tokens"):
        listed = tokenizer.settings.get(name)
        if isinstance(listed, list):
            contents = [
                token.get("content") if isinstance(token, dict) else token for token in listed
            ]
            settings[name] = [token for token in contents if token in added]
    # transformers 4 otherwise returns token types too, which decoders do not accept.
    return settings | {
        "tokenizer_class": _CLASS,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def write(folder: pathlib.Path, tokenizer: Tokenizer, config: TrainConfig, form: str) -> None:
    """Writes the tokenizer's files.

    `form` is `text` if the chat template is made from data.template, `conversation` if it is the tokenizer's own with
    what training adds, `document` if it is the tokenizer's own, with which the model was not trained.
    """
    added = _added(tokenizer)
    # One that is a token, but no special one, would become special; the ids of these are needed all the same.
    known = {
        role: token
        for role, token in tokenizer.special_tokens.items()
        if token in added or (role in _NEEDED and tokenizer.backend.token_to_id(token) is not None)
    }
    if form == "text":
        template, is_exact = find_template(tokenizer, config.data)
        if not is_exact:
            logger.warning(
                "the tokens of the chat template are not those of training with this tokenizer: score the text of "
                "a row with tokenizer(text)"
            )
    elif form == "document":
        template = tokenizer.chat_template
    else:
        template = of_conversations(tokenizer, config.data, known)
    dataclasses.replace(
        tokenizer,
        chat_template=template,
        special_tokens=known,
        settings=_kept_settings(tokenizer),
    ).save(folder)
    split = FAMILIES[config.model.family].tokenizer_split
    if split is not None and not _splits_by(tokenizer, split):
        # AutoTokenizer uses the family's class whatever tokenizer_class says, unless there is an entry for code; the
        # code itself is for trust_remote_code.
        path = folder / "tokenizer_config.json"
        saved = json.loads(path.read_text(encoding="utf-8"))
        write_json(
            path, saved | {"auto_map": {"AutoTokenizer": [None, "whole_tokenizer.WholeTokenizer"]}}
        )
        (folder / "whole_tokenizer.py").write_text(_CODE, encoding="utf-8")
