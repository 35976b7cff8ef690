"""Scores of a baseline: `codepmp evaluate baseline`.

    OUTPUT              a score a line, in the order of the input
    OUTPUT.meta.json    how they were made

The texts are those that a reward model would be given, cut to the same length.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import codepmp_jax
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import BaselineConfig, presets
from codepmp_jax.evaluation.baselines import bag_of_tokens
from codepmp_jax.evaluation.items import Items, digest, item_id_of, read_items
from codepmp_jax.evaluation.scores import meta_path, to_line
from codepmp_jax.files import output as outputs
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import PreferencePair, Score
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.records.subset import Subset
from codepmp_jax.text import forms
from codepmp_jax.text.forms import Refused, TextForm
from codepmp_jax.text.tokenization import EncodedText, Tokenizer


class ItemTexts(NamedTuple):
    """The texts of a pair or problem, at most as long as the form says."""

    item_id: str
    texts: list[EncodedText]


def run(config: BaselineConfig) -> None:
    """Writes the scores, whole or not at all.

    Raises UserError where model or pairs are missing, or a text cannot be written in the form.
    """
    for name in ("model", "input", "output"):
        value = getattr(config, name)
        require(value != "", name, value, "must be given", f"add --{name} PATH")
    folder = pathlib.Path(config.model)
    require(
        (folder / "tokenizer.json").is_file(),
        "model",
        config.model,
        "must be a Hugging Face folder, with a tokenizer.json",
        "give the folder that the reward models started from",
    )
    with outputs.file(config.output) as path:
        num_items, num_texts = _write(config, folder, path)
    print(f"{num_texts} texts of {num_items} items scored by {config.baseline} -> {path}")


def _write(config: BaselineConfig, folder: pathlib.Path, path: pathlib.Path) -> tuple[int, int]:
    """(number of items, of their texts)."""
    tokenizer = Tokenizer.load(str(folder))
    trained = forms.read_folder(folder, tokenizer)
    form = forms.of_settings(config.texts, trained, str(folder))
    form.require_template(tokenizer)
    items = encoded(read_items(config.input, config.split), tokenizer, form)
    texts = [text for item in items for text in item.texts]
    facts: dict[str, Any] = {}
    if config.baseline == "bag_of_tokens":
        train = encoded(_train_pairs(config), tokenizer, form)
        bag = bag_of_tokens.fit(_sides(train), tokenizer.vocab_size, config.penalty)
        facts = {"num_train_pairs": len(train), "num_seen_tokens": bag.num_seen}
        rewards = bag.scores(_responses(texts))
    else:
        # PyTorch is needed by this one alone.
        from codepmp_jax.evaluation.baselines.likelihood import Likelihood

        model = Likelihood.load(folder, config.dtype)
        is_mean = config.baseline == "mean_likelihood"
        rewards = model.scores(texts, is_mean, config.batch_tokens)
    keys = [(item.item_id, index) for item in items for index in range(len(item.texts))]
    with storage.replaced(path) as partial, partial.open("w", encoding="utf-8") as file:
        for key, reward, text in zip(keys, rewards, texts, strict=True):
            file.write(to_line(Score(*key, float(reward), len(text.tokens))) + "\n")
        write_json(
            meta_path(path),
            {
                "model": f"{config.baseline} of {config.model}",
                "kind": "baseline",
                **facts,
                "input_sha256": digest(config.input, config.split),
                "config": presets.to_json(config),
                "codepmp_jax": codepmp_jax.__version__,
            },
        )
    return len(items), len(texts)


def encoded(items: Items, tokenizer: Tokenizer, form: TextForm) -> list[ItemTexts]:
    """The items' texts as tokens. Raises UserError where one cannot be written, or nothing is left of its response."""
    found = []
    for item in items:
        item_id = item_id_of(item)
        try:
            texts = form.texts(item, tokenizer)
        except Refused as error:
            raise UserError(
                f"{item_id}: cannot be written {form}: {error}. Remedy: give --texts.form and --texts.template."
            ) from error
        rows = [
            EncodedText(text.tokens[: form.max_length], text.response_start)
            for text in tokenizer.encode(texts, append_eos=form.append_eos)
        ]
        for index, row in enumerate(rows):
            require(
                0 < row.response_start < len(row.tokens),
                f"{item_id}, text {index}: tokens before the response",
                row.response_start,
                f"must be at least one, and fewer than the {len(row.tokens)} that are kept",
                "raise --texts.max-length, or leave the item out",
            )
        found.append(ItemTexts(item_id, rows))
    return found


def _train_pairs(config: BaselineConfig) -> list[PreferencePair]:
    pairs: Any = ShardedDataset(config.input, PreferencePair, "train")
    if config.max_pairs is not None:
        pairs = Subset(pairs, config.max_pairs, config.subset_seed)
    return [pairs[index] for index in range(len(pairs))]


def _sides(items: list[ItemTexts]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for item in items:
        chosen, rejected = _responses(item.texts)
        yield chosen, rejected


def _responses(texts: list[EncodedText]) -> list[np.ndarray]:
    return [text.tokens[text.response_start :] for text in texts]
