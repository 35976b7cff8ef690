from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codepmp_jax.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length
from codepmp_jax.models.preference import init_params

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
MODEL = ModelConfig(
    vocab_size=64,
    embed_dim=32,
    mlp_dim=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    compute_dtype="float32",
    init_std=0.2,
    score_init_std=0.3,
)


@pytest.fixture(scope="module")
def torch_step():
    """benchmarks/torch_step.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("torch_step", BENCHMARKS / "torch_step.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_pairs(number: int) -> list[TokenizedPair]:
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(number):
        prompt = rng.integers(1, 64, rng.integers(1, 12), np.int32)
        chosen, rejected = (
            np.concatenate([prompt, rng.integers(1, 64, rng.integers(1, 12), np.int32)])
            for _ in range(2)
        )
        common = common_length(chosen, rejected)
        pairs.append(
            TokenizedPair(str(i), 0.0, chosen, rejected, (len(prompt), len(prompt)), common)
        )
    return pairs


def make_steps(torch_step):
    tensors = list(hf_tensors(TrainConfig(model=MODEL), init_params(MODEL, 0)))
    arguments = (MODEL, OptimizerConfig(learning_rate=1e-3), tensors)
    options = {"max_length": 32, "device": torch.device("cpu"), "micro_tokens": 128}
    return [
        torch_step.AuthorsStep(*arguments, longest=False, **options),
        torch_step.AuthorsStep(*arguments, longest=True, **options),
        torch_step.PackedStep(*arguments, compiled=False, **options),
    ]


def losses_text_by_text(model, pairs) -> tuple[float, float]:
    """Means of the pair losses and of the label losses, of texts that the model sees one at a time."""
    rewards, label_losses = [], []
    for pair in pairs:
        for text in (pair.chosen, pair.rejected):
            tokens = torch.tensor(text, dtype=torch.long)
            hidden = model.lm.model(input_ids=tokens[None], attention_mask=None).last_hidden_state
            rewards.append(model.score(hidden[0, -1]))
            if text is pair.chosen:
                logits = model.lm.lm_head(hidden)[0, pair.label_starts[0] - 1 : -1]
                losses = F.cross_entropy(logits, tokens[pair.label_starts[0] :], reduction="none")
                label_losses.append(losses)
    chosen, rejected = torch.stack(rewards).view(-1, 2).T
    return (-F.logsigmoid(chosen - rejected).mean()).item(), torch.cat(label_losses).mean().item()


def gradients(step, pairs, num_labels) -> list[torch.Tensor]:
    weights = torch.tensor([1 / len(pairs), 1 / num_labels])
    for part in step.parts(pairs):
        (weights * step.losses(part)).sum().backward()
    found = [parameter.grad for parameter in step.model.parameters()]
    step.model.zero_grad()
    return found


def test_steps_have_the_losses_of_texts_alone_and_the_same_gradients(torch_step):
    pairs = random_pairs(11)
    num_labels = sum(pair.num_labels() for pair in pairs)
    authors, *others = make_steps(torch_step)
    pair_loss, lm_loss = losses_text_by_text(authors.model, pairs)
    expected = gradients(authors, pairs, num_labels)
    norm = torch.nn.utils.get_total_norm(expected).item()
    losses = {"pair_loss": pair_loss, "lm_loss": lm_loss, "grad_norm": norm}
    for step in (authors, *others):
        assert len(step.parts(pairs)) > 2
        torch.testing.assert_close(
            gradients(step, pairs, num_labels), expected, rtol=1e-4, atol=1e-6
        )
        told = step.step(step.parts(pairs), len(pairs), num_labels)
        assert told == pytest.approx(losses, rel=1e-5)
        # The next step sees other parameters, and no gradients of this one.
        assert step.step(step.parts(pairs), len(pairs), num_labels)["lm_loss"] < told["lm_loss"]


@pytest.mark.parametrize("limit", [1, 30, 64, 10_000])
def test_parts_hold_every_pair_once_and_in_order(torch_step, limit):
    pairs = random_pairs(11)
    num_tokens = layout_of(DataConfig(layout="packed")).num_tokens
    sizes = list(map(num_tokens, pairs))
    parts = torch_step.cut(pairs, num_tokens, limit)
    assert [pair for part in parts for pair in part] == pairs
    assert all(parts)
    assert max(sum(map(num_tokens, part)) for part in parts) <= (limit + max(sizes))
