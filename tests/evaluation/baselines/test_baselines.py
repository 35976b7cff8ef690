"""`codepmp evaluate baseline`: scores of a language model's likelihood and of a bag of tokens."""

from __future__ import annotations

import json
import pathlib

import pytest
import torch
from transformers import AutoModelForCausalLM

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import BaselineConfig, FromGgufConfig, TextsConfig
from codepmp_jax.conversion.from_gguf import from_gguf
from codepmp_jax.evaluation.baselines.run import run
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.scores import read_scores
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.gguf_files import tiny_llama, write_gguf

TEMPLATE = "Ask {prompt} say {response}"
PAIRS = [
    PreferencePair(
        f"p{i}", f"what is {i} + {i}?", f"{2 * i} is it, yes", f"{2 * i} is it not" * (i % 3 + 1)
    )
    for i in range(12)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A Hugging Face folder of a tiny causal LM."""
    where = tmp_path_factory.mktemp("lm")
    file = write_gguf(where / "tiny.gguf", tiny_llama())
    return from_gguf(FromGgufConfig(input=str(file), output=str(where / "hf")))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> pathlib.Path:
    where = tmp_path_factory.mktemp("pairs")
    splits = {
        split: write_split(where, split, part, 1)
        for split, part in (("train", PAIRS[:8]), ("heldout", PAIRS[8:]))
    }
    write_manifest(where, PreferencePair, splits, {})
    return where


def scores(folder, pairs, output: pathlib.Path, **settings) -> dict[tuple[str, int], float]:
    texts = settings.pop("texts", TextsConfig(template=TEMPLATE))
    config = BaselineConfig(
        model=str(folder), input=str(pairs), output=str(output), texts=texts, **settings
    )
    run(config)
    return {(each.item_id, each.index): each.reward for each in read_scores(str(output))}


def test_likelihoods_are_those_of_each_text_on_its_own(folder, pairs, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.load(str(folder))
    expected = {}
    for pair in PAIRS[8:]:
        for index, response in enumerate((pair.chosen, pair.rejected)):
            # The tiny tokenizer has no token across the boundary.
            before = tokenizer.backend.encode(f"Ask {pair.prompt} say ").ids
            after = tokenizer.backend.encode(response).ids
            tokens = torch.tensor([before + after])
            with torch.inference_mode():
                log_probs = model(tokens).logits[0].log_softmax(-1)
            total = sum(
                float(log_probs[place - 1, tokens[0, place]])
                for place in range(len(before), len(before) + len(after))
            )
            expected[pair.pair_id, index] = (total, total / len(after))
    found = scores(folder, pairs, tmp_path / "sum.jsonl", batch_tokens=1)
    means = scores(folder, pairs, tmp_path / "mean.jsonl", baseline="mean_likelihood")
    assert found == pytest.approx({key: value[0] for key, value in expected.items()}, abs=1e-3)
    assert means == pytest.approx({key: value[1] for key, value in expected.items()}, abs=1e-4)


def test_a_bag_of_tokens_is_fitted_to_the_train_pairs_alone(folder, pairs, tmp_path):
    found = scores(folder, pairs, tmp_path / "bag.jsonl", baseline="bag_of_tokens", max_pairs=6)
    assert set(found) == {(pair.pair_id, index) for pair in PAIRS[8:] for index in (0, 1)}
    for pair in PAIRS[8:]:
        assert found[pair.pair_id, 0] > found[pair.pair_id, 1]
    meta = json.loads((tmp_path / "bag.meta.json").read_text())
    assert meta["num_train_pairs"] == 6
    assert meta["model"] == f"bag_of_tokens of {folder}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "nowhere"}, "model = 'nowhere': must be a Hugging Face folder"),
        ({"texts": TextsConfig(template=TEMPLATE, max_length=4)}, "tokens before the response"),
    ],
)
def test_what_is_refused(folder, pairs, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        scores(settings.pop("model", folder), pairs, tmp_path / "out.jsonl", **settings)
    assert not (tmp_path / "out.jsonl").exists()
