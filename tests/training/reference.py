"""The authors' training step in PyTorch: Hugging Face's model, the pair loss and the LM loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM, get_cosine_schedule_with_warmup

from codepmp_jax.config import DataConfig, ModelConfig, OptimizerConfig, PmpConfig, TrainConfig
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.conversion.hf_config import hf_config
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length


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
        data=DataConfig(max_length=24),
        loss=PmpConfig(lm_chunk_tokens=56),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_fraction=0.2),
        global_batch_rows=8,
    )
    # All at once, since one may be allowed only with another.
    own = {path: value for path, value in changes.items() if "__" not in path}
    for path, value in changes.items():
        section, _, name = path.partition("__")
        if name:
            part = own.get(section, getattr(config, section))
            own[section] = dataclasses.replace(part, **{name: value})
    return dataclasses.replace(config, **own)


def random_pairs(
    seed: int, num_pairs: int = 8, length: int = 24, vocab: int = 96
) -> list[TokenizedPair]:
    """Pairs of random tokens and lengths, with a margin; their two texts begin alike."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(num_pairs):
        prompt = rng.integers(1, vocab, rng.integers(1, length // 3))
        texts = [
            np.concatenate(
                [prompt, rng.integers(1, vocab, rng.integers(1, length - len(prompt) + 1))]
            ).astype(np.int32)
            for _ in range(2)
        ]
        margin = float(np.float32(rng.uniform(0, 0.5)))
        common = common_length(texts[0], texts[1])
        pair = TokenizedPair(
            str(number), margin, texts[0], texts[1], (len(prompt), len(prompt)), common
        )
        pairs.append(pair)
    return pairs


def batch_of(pairs: Sequence[TokenizedPair], config: TrainConfig) -> Batch:
    """All pairs as a batch of global_batch_rows rows in the layout that is set."""
    layout = layout_of(config.data)
    rows = [row.row for row in pack(([pair] for pair in pairs), layout, 0, new_state())]
    missing = config.global_batch_rows - len(rows)
    assert missing >= 0
    rows.append(layout.empty(missing, 0))
    return jax.tree.map(jnp.asarray, concatenate(rows))


class Padded(NamedTuple):
    """Pairs as the authors' code has them: N pairs of two texts padded to L; response_mask is True at labels."""

    tokens: np.ndarray
    token_mask: np.ndarray
    response_mask: np.ndarray
    margin: np.ndarray


def padded(pairs: Sequence[TokenizedPair], side: str = "right", length: int = 24) -> Padded:
    """The pairs, padded on one side."""
    shape = (len(pairs), 2, length)
    rows = Padded(
        np.zeros(shape, np.int32),
        np.zeros(shape, bool),
        np.zeros(shape, bool),
        np.array([pair.margin for pair in pairs], np.float32),
    )
    for i, pair in enumerate(pairs):
        for j, text in enumerate((pair.chosen, pair.rejected)):
            start = 0 if side == "right" else length - len(text)
            rows.tokens[i, j, start : start + len(text)] = text
            rows.token_mask[i, j, start : start + len(text)] = True
            rows.response_mask[i, j, start + pair.label_starts[0] : start + len(text)] = True
    return rows


class TorchPreferenceModel(torch.nn.Module):
    """The family's causal LM and a score head on its final hidden states."""

    def __init__(self, config: TrainConfig, params) -> None:
        super().__init__()
        settings = hf_config(config.model, 32)
        hf = AutoConfig.for_model(**settings, attn_implementation="eager")
        self.lm: Any = AutoModelForCausalLM.from_config(hf)
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

    def forward(self, batch: Padded):
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
        logits = self.lm.lm_head(hidden)
        cap = getattr(self.lm.config, "final_logit_softcapping", None)
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        return rewards.reshape(num_pairs, 2), logits.reshape(num_pairs, 2, length, -1)

    def losses(self, batch: Padded, config: ObjectiveConfig):
        """(pair loss, LM loss), as scalars."""
        assert isinstance(config, PmpConfig)
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
    decays = {
        "matrices": lambda name, value: value.ndim > 1,
        "all_but_biases": lambda name, value: not name.endswith("bias"),
        "all": lambda name, value: True,
    }[config.weight_decay_mask]
    groups = [
        {
            "params": [value for name, value in parameters.items() if decays(name, value) == yes],
            "weight_decay": config.weight_decay * yes,
        }
        for yes in (True, False)
    ]
    adamw = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon
    )
    warmup = int(np.ceil(config.warmup_fraction * num_steps))
    return adamw, get_cosine_schedule_with_warmup(adamw, warmup, num_steps)
