"""The authors' training step in PyTorch: Hugging Face's Qwen2, the pair loss and the LM loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM, get_cosine_schedule_with_warmup

from codepmp_jax.config import LossConfig, ModelConfig, OptimizerConfig, TrainConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.conversion.qwen2 import hf_config
from codepmp_jax.data.batch import Batch


def tiny_config(**changes) -> TrainConfig:
    """A Qwen2 small enough to compare every number of."""
    config = TrainConfig(
        model=ModelConfig(
            vocab_size=96,
            embed_dim=32,
            mlp_dim=48,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            head_dim=8,
            rope_theta=10000.0,
            compute_dtype="float32",
            remat="full",
            init_std=0.2,
            score_init_std=0.3,
        ),
        loss=LossConfig(lm_chunk=7),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_fraction=0.2),
        global_batch_pairs=8,
    )
    for path, value in changes.items():
        section, _, name = path.partition("__")
        if name:
            part = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: part})
        else:
            config = dataclasses.replace(config, **{section: value})
    return config


def random_batch(
    seed: int, num_pairs: int = 8, length: int = 24, vocab: int = 96, padding_side: str = "right"
) -> Batch:
    """Pairs of random tokens and lengths, padded on one side, with a margin."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((num_pairs, 2, length), np.int32)
    token_mask = np.zeros((num_pairs, 2, length), bool)
    response_mask = np.zeros((num_pairs, 2, length), bool)
    for pair in range(num_pairs):
        prompt = rng.integers(1, length // 3)
        for side in range(2):
            size = prompt + rng.integers(1, length - prompt + 1)
            start = 0 if padding_side == "right" else length - size
            tokens[pair, side, start : start + size] = rng.integers(1, vocab, size)
            token_mask[pair, side, start : start + size] = True
            response_mask[pair, side, start + prompt : start + size] = True
    margin = rng.uniform(0, 0.5, num_pairs).astype(np.float32)
    return Batch(tokens, token_mask, response_mask, margin, np.ones(num_pairs, bool))


class TorchPreferenceModel(torch.nn.Module):
    """Qwen2ForCausalLM and a score head on its final hidden states."""

    def __init__(self, config: TrainConfig, params) -> None:
        super().__init__()
        settings: dict[str, Any] = hf_config(config.model, 32) | {"attn_implementation": "eager"}
        self.lm = Qwen2ForCausalLM(Qwen2Config(**settings))
        self.score = torch.nn.Linear(config.model.embed_dim, 1, bias=False)
        tensors = {
            name: torch.tensor(np.array(array)) for name, array in hf_tensors(config, params)
        }
        self.score.weight.data = tensors.pop("score.weight")
        missing, unexpected = self.lm.load_state_dict(tensors, strict=False)
        assert not unexpected
        assert set(missing) <= ({"lm_head.weight"} if config.model.tie_embeddings else set())

    def named(self, of=lambda parameter: parameter) -> dict[str, np.ndarray]:
        """Arrays by Hugging Face's names."""
        arrays = {"score.weight": of(self.score.weight)}
        arrays |= {name: of(parameter) for name, parameter in self.lm.named_parameters()}
        return {name: array.detach().numpy().copy() for name, array in arrays.items()}

    def forward(self, batch: Batch):
        """(rewards [N 2], logits [N 2 L V])."""
        num_pairs, _, length = batch.tokens.shape
        rows = torch.tensor(batch.tokens.reshape(-1, length), dtype=torch.long)
        mask = torch.tensor(batch.token_mask.reshape(-1, length))
        hidden = self.lm.model(
            input_ids=rows,
            attention_mask=mask.long(),
            position_ids=(mask.long().cumsum(-1) - 1).clamp(min=0),
        ).last_hidden_state
        last = length - 1 - mask.flip(-1).long().argmax(-1)
        rewards = self.score(hidden[torch.arange(len(rows)), last])[:, 0]
        return rewards.reshape(num_pairs, 2), self.lm.lm_head(hidden).reshape(
            num_pairs, 2, length, -1
        )

    def losses(self, batch: Batch, config: LossConfig):
        """(pair loss, LM loss), as scalars."""
        rewards, logits = self(batch)
        margin = torch.tensor(batch.margin)
        pair_loss = -F.logsigmoid(rewards[:, 0] - rewards[:, 1] - margin).mean()
        groups = 1 if config.lm_reduction == "token_mean" else len(margin) // 4
        size = len(margin) // groups
        means = []
        for i in range(groups):
            rows = slice(i * size, (i + 1) * size)
            labels = torch.tensor(batch.tokens[rows, 0], dtype=torch.long)
            labels[~torch.tensor(batch.response_mask[rows, 0])] = -100
            means.append(
                F.cross_entropy(
                    logits[rows, 0, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
                )
            )
        return pair_loss, torch.stack(means).mean()


def torch_optimizer(model: TorchPreferenceModel, config: OptimizerConfig, num_steps: int):
    """(AdamW, its schedule), as transformers' Trainer builds them."""
    parameters = dict(model.named_parameters())
    is_matrix = {
        name: value.ndim > 1 or config.weight_decay_mask == "all"
        for name, value in parameters.items()
    }
    groups = [
        {
            "params": [parameters[n] for n in parameters if is_matrix[n]],
            "weight_decay": config.weight_decay,
        },
        {"params": [parameters[n] for n in parameters if not is_matrix[n]], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon
    )
    warmup = int(np.ceil(config.warmup_fraction * num_steps))
    return adamw, get_cosine_schedule_with_warmup(adamw, warmup, num_steps)
