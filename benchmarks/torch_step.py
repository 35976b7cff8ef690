"""The training step in PyTorch: as the authors compute it, and the fastest that PyTorch offers.

Both take Hugging Face's Qwen2 and compute the same: the mean pair loss of a step's pairs plus the mean LM
loss of its labels, over the whole step. A pair's texts follow one another, chosen first. Needs PyTorch 2.11.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, Qwen2Config, Qwen2ForCausalLM

from codepmp_jax.config import ModelConfig, OptimizerConfig
from codepmp_jax.conversion.hf_config import hf_config
from codepmp_jax.data.tokenized_pair import TokenizedPair

_IGNORED = -100

Part = dict[str, Any]
"""Tensors of a micro batch."""


def texts_of(pairs: Sequence[TokenizedPair]) -> list[np.ndarray]:
    """Chosen and rejected of every pair."""
    return [text for pair in pairs for text in (pair.chosen, pair.rejected)]


def cut(
    pairs: Sequence[TokenizedPair], size: Callable[[TokenizedPair], int], limit: int
) -> list[Sequence[TokenizedPair]]:
    """The pairs in runs whose sizes add up to about the same, and to little more than `limit`."""
    ends = np.cumsum([size(pair) for pair in pairs])
    number = math.ceil(ends[-1] / limit)
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, number) / number, side="right")
    stops = np.unique([0, *inner, len(pairs)])
    return [pairs[start:stop] for start, stop in itertools.pairwise(stops)]


class Model(torch.nn.Module):
    """Qwen2 with an LM head and a score head."""

    def __init__(self, config: ModelConfig, max_length: int, attention: str):
        super().__init__()
        settings: dict[str, Any] = hf_config(config, max_length) | {
            "attn_implementation": attention
        }
        self.lm = Qwen2ForCausalLM(Qwen2Config(**settings))
        self.score = torch.nn.Linear(config.embed_dim, 1, bias=False)

    def load(self, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
        """Takes the parameters that hf_tensors gives."""
        states = {name: torch.tensor(array) for name, array in tensors}
        self.score.load_state_dict({"weight": states.pop("score.weight")})
        self.lm.load_state_dict(states)


class TorchStep(abc.ABC):
    """Optimizer steps: AdamW on float32 parameters, computed with copies of them in the compute dtype.

    Gradients are added up over micro batches in float32.
    """

    attention: str

    def __init__(
        self,
        model: ModelConfig,
        optimizer: OptimizerConfig,
        tensors: Iterable[tuple[str, np.ndarray]],
        *,
        max_length: int,
        device: torch.device,
        micro_tokens: int,
    ):
        """Micro batches are of about micro_tokens tokens, padding counted; the authors' of 8 * 1024."""
        self.max_length = max_length
        self.micro_tokens = micro_tokens
        self.device = device
        with device:
            self.model = Model(model, max_length, self.attention)
        self.model.load(tensors)
        self._masters = [p.detach().clone() for p in self.model.parameters()]
        self._gradients = [torch.zeros_like(master) for master in self._masters]
        for master, gradient in zip(self._masters, self._gradients, strict=True):
            master.grad = gradient
        # Parameters alone: the frequencies of the rotary embedding stay float32.
        for parameter in self.model.parameters():
            parameter.data = parameter.data.to(getattr(torch, model.compute_dtype))
        self._clip_norm = optimizer.clip_norm
        self._adamw = torch.optim.AdamW(
            self._masters,
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
            fused=True,
        )

    @abc.abstractmethod
    def parts(self, pairs: Sequence[TokenizedPair]) -> list[Part]:
        """The micro batches of a step."""

    @abc.abstractmethod
    def _hidden_states(self, part: Part) -> Tensor:
        """[T D], of all rows one after the other."""

    @abc.abstractmethod
    def _lm_loss(self, hidden: Tensor, part: Part) -> Tensor:
        """The labels' losses, added up."""

    def losses(self, part: Part) -> Tensor:
        """(pair losses, label losses) of a micro batch, added up."""
        hidden = self._hidden_states(part)
        rewards = self.model.score(hidden[part["ends"]]).float().view(-1, 2)
        pair_loss = -F.logsigmoid(rewards[:, 0] - rewards[:, 1]).sum()
        return torch.stack([pair_loss, self._lm_loss(hidden, part)])

    def step(self, parts: Sequence[Part], num_pairs: int, num_labels: int) -> dict[str, float]:
        """One optimizer step; its losses and the norm of its gradients before they are clipped."""
        weights = torch.tensor([1 / num_pairs, 1 / num_labels], device=self.device)
        sums = torch.zeros(2, device=self.device)
        used = list(self.model.parameters())
        for part in parts:
            losses = weights * self.losses(_to(part, self.device))
            losses.sum().backward()
            sums += losses.detach()
            for total, parameter in zip(self._gradients, used, strict=True):
                assert parameter.grad is not None
                total += parameter.grad
            self.model.zero_grad(set_to_none=True)
        norm = torch.nn.utils.clip_grad_norm_(self._masters, self._clip_norm)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=False)
        with torch.no_grad():
            for parameter, master in zip(used, self._masters, strict=True):
                parameter.copy_(master)
        pair_loss, lm_loss, grad_norm = [*sums.tolist(), norm.item()]
        return {"pair_loss": pair_loss, "lm_loss": lm_loss, "grad_norm": grad_norm}


def _to(part: Part, device: torch.device) -> Part:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in part.items()
    }


class AuthorsStep(TorchStep):
    """Logits of every position of every row, in float32 (arXiv 2410.02229, as released)."""

    attention = "sdpa"

    def __init__(self, *arguments: Any, longest: bool, **options: Any):
        """Rows are padded to max_length, or with `longest` to the longest of their micro batch."""
        super().__init__(*arguments, **options)
        self._longest = longest

    def parts(self, pairs: Sequence[TokenizedPair]) -> list[Part]:
        """Of as many pairs as fit when padded to max_length."""
        groups = cut(pairs, lambda _: 2 * self.max_length, self.micro_tokens)
        return [self._part(group) for group in groups]

    def _part(self, pairs: Sequence[TokenizedPair]) -> Part:
        texts = texts_of(pairs)
        lengths = np.array([len(text) for text in texts])
        width = lengths.max() if self._longest else self.max_length
        tokens = np.zeros((len(texts), width), np.int64)
        labels = np.full((len(pairs), width), _IGNORED, np.int64)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = text
        for row, pair in zip(labels, pairs, strict=True):
            row[pair.label_starts[0] : len(pair.chosen)] = pair.chosen[pair.label_starts[0] :]
        return {
            "tokens": torch.tensor(tokens),
            "mask": torch.tensor(np.arange(width) < lengths[:, None]).long(),
            "ends": torch.tensor(np.arange(len(texts)) * width + lengths - 1),
            "labels": torch.tensor(labels),
        }

    def _hidden_states(self, part: Part) -> Tensor:
        outputs = self.model.lm.model(
            input_ids=part["tokens"], attention_mask=part["mask"], use_cache=False
        )
        return outputs.last_hidden_state.flatten(0, 1)

    def _lm_loss(self, hidden: Tensor, part: Part) -> Tensor:
        logits = self.model.lm.lm_head(hidden).float().unflatten(0, part["tokens"].shape)
        return F.cross_entropy(
            logits[::2, :-1].flatten(0, 1),
            part["labels"][:, 1:].flatten(),
            ignore_index=_IGNORED,
            reduction="sum",
        )


@torch.compiler.disable
def _text_by_text(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor) -> Tensor:
    """[1 H T E] -> [1 H T E], on a CPU."""
    lengths = offsets.diff().tolist()
    queries, keys, values = (array.split(lengths, dim=2) for array in (query, key, value))
    texts = zip(queries, keys, values, strict=True)
    outputs = [F.scaled_dot_product_attention(q, k, v, is_causal=True) for q, k, v in texts]
    return torch.cat(outputs, dim=2)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    offsets: Tensor,
    max_length: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each text of a row, which begin at `offsets`: query [1 H T E] -> [1 T H E]."""
    key, value = (part.repeat_interleave(module.num_key_value_groups, 1) for part in (key, value))
    if not query.is_cuda:
        output = _text_by_text(query, key, value, offsets)  # pyright: ignore[reportCallIssue]
        return output.transpose(1, 2), None
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    causal = (-1, 0)
    result = varlen_attn(
        query, key, value, offsets, offsets, max_length, max_length, window_size=causal
    )
    assert isinstance(result, Tensor)
    return result[None], None


AttentionInterface.register("packed", packed_attention)


def _nll(hidden: Tensor, kernel: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, kernel).float(), labels, reduction="sum")


class PackedStep(TorchStep):
    """No padding: a micro batch is one row of texts. Logits of the labels alone."""

    attention = "packed"

    def __init__(self, *arguments: Any, compiled: bool, **options: Any):
        """With `compiled` by torch.compile."""
        super().__init__(*arguments, **options)
        self._nll = _nll
        if compiled:
            # Numbers of tokens are made dynamic from the second on.
            self._nll = torch.compile(_nll)
            for layer in self.model.lm.model.layers:
                layer.compile()

    def parts(self, pairs: Sequence[TokenizedPair]) -> list[Part]:
        """Of about as many tokens each."""
        groups = cut(pairs, lambda pair: len(pair.chosen) + len(pair.rejected), self.micro_tokens)
        return [self._part(group) for group in groups]

    def _part(self, pairs: Sequence[TokenizedPair]) -> Part:
        texts = texts_of(pairs)
        offsets = np.cumsum([0, *map(len, texts)])
        chosen = list(zip(offsets[::2], pairs, strict=False))
        labels = [pair.chosen[pair.label_starts[0] :] for pair in pairs]
        places = [
            np.arange(start + pair.label_starts[0], start + len(pair.chosen)) - 1
            for start, pair in chosen
        ]
        return {
            "tokens": torch.tensor(np.concatenate(texts, dtype=np.int64))[None],
            "positions": torch.tensor(np.concatenate([np.arange(len(text)) for text in texts]))[
                None
            ],
            "offsets": torch.tensor(offsets, dtype=torch.int32),
            "ends": torch.tensor(offsets[1:] - 1),
            "label_places": torch.tensor(np.concatenate(places)),
            "labels": torch.tensor(np.concatenate(labels, dtype=np.int64)),
        }

    def _hidden_states(self, part: Part) -> Tensor:
        outputs = self.model.lm.model(
            input_ids=part["tokens"],
            position_ids=part["positions"],
            # No mask to make: packed_attention needs none.
            attention_mask={"full_attention": None},
            offsets=part["offsets"],
            max_length=self.max_length,
            use_cache=False,
        )
        return outputs.last_hidden_state[0]

    def _lm_loss(self, hidden: Tensor, part: Part) -> Tensor:
        kernel = self.model.lm.lm_head.weight
        return self._nll(hidden[part["label_places"]], kernel, part["labels"])
