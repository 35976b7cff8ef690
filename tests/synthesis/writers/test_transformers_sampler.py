"""A small model that writes in the process itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SamplingConfig, TransformersConfig, WriterConfig
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.writers.sampler import Request
from codepmp_jax.synthesis.writers.samplers import make_sampler
from codepmp_jax.synthesis.writers.transformers_sampler import Drawn
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.runs import write_run
from tests.training.reference import TorchPreferenceModel, tiny_config

SOURCE = SourceFile("s", "x = 1", "d", "x", "file", "python", "r", "p", "mit", 1)
PROMPTS = ("def f(", "return x", "a", "for each of the words in this line print(word)\n", "1 + 1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A Hugging Face folder of a language model."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny_config(model__vocab_size=4096, workdir=str(tmp_path_factory.mktemp("run") / "r"))
    TorchPreferenceModel(config, write_run(config)).lm.save_pretrained(folder)
    Tokenizer.load("embedded").save(folder)
    return str(folder)


def write(folder: str, prompts=PROMPTS, batch_rows: int = 3, seed: int = 0, **sampling: Any):
    config = WriterConfig(
        sampler="transformers",
        model=folder,
        chat="never",
        sampling=SamplingConfig(**{"max_tokens": 6, "temperature": 1.0} | sampling),
        transformers=TransformersConfig(dtype="float32", batch_rows=batch_rows),
    )
    sampler = make_sampler(config, "", seed)
    requests = [Request(f"{prompt}/0", prompt, "", SOURCE) for prompt in prompts]
    try:
        return sampler.sample(requests)
    finally:
        sampler.close()


def test_without_a_temperature_it_writes_the_most_probable_tokens(folder):
    """Those of a prompt alone, whatever the padding of its batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for prompt, found in zip(PROMPTS, write(folder, temperature=0.0), strict=True):
        tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
        written = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=6
        )
        reply = tokenizer.decode(written[0, tokens.shape[1] :], skip_special_tokens=True)
        assert found.text == reply
        assert found.num_prompt_tokens == tokens.shape[1]
        assert found.facts["sampler"] == "transformers"


def test_a_reply_depends_on_its_request_alone(folder):
    found = write(folder)
    again = write(folder, PROMPTS[::-1], batch_rows=1)[::-1]
    assert [one.text for one in again] == [one.text for one in found]
    assert [one.facts["seed"] for one in again] == [one.facts["seed"] for one in found]
    assert [one.text for one in write(folder, seed=1)] != [one.text for one in found]


def test_tokens_are_drawn_by_their_probabilities():
    """At numbers evenly in [0, 1) each token stands as often as its probability says, and what has none never."""
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.125, 0.375, 0.0])
    numbers = (np.arange(64)[:, None] + 0.5) / 64
    draw = Drawn(np.concatenate([np.zeros((64, 1)), numbers], axis=1), 3)
    scores = probabilities.log().expand(64, -1)
    found = draw(torch.zeros(64, 4, dtype=torch.long), scores).argmax(-1)
    assert found.bincount(minlength=6).tolist() == [0, 32, 0, 8, 24, 0]
    first = draw(torch.zeros(64, 3, dtype=torch.long), scores).argmax(-1)
    assert set(first.tolist()) == {1}


def test_a_reply_ends_at_a_stop_text_and_at_its_longest(folder):
    whole = write(folder)
    assert {one.finish_reason for one in whole} == {"length"}
    assert {one.num_tokens for one in whole} == {6}
    longest = max(whole, key=lambda one: len(one.text))
    stop = longest.text[-3:]
    cut = {one.key: one for one in write(folder, stop=(stop,))}[longest.key]
    assert cut.finish_reason == "stop"
    assert longest.text.startswith(cut.text)
    assert stop not in cut.text


def test_a_prompt_without_room_for_a_reply_fails_alone(folder):
    found = write(folder, ("x = 1\n" * 30000, "a"))
    assert [one.failure for one in found] == ["prompt too long", ""]


def test_a_model_that_is_not_there_is_one_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "none"}')
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"transformers did not load it .* Remedy"):
        write(str(tmp_path))
