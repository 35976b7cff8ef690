"""How probable a language model finds a response after its prompt: what it knows before any reward is trained."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.progress import progress
from codepmp_jax.text.tokenization import EncodedText


class Likelihood:
    """A causal LM of a Hugging Face folder."""

    def __init__(self, model: Any):
        self._model = model.eval()

    @classmethod
    def load(cls, folder: pathlib.Path, dtype: str) -> Likelihood:
        """The LM, on a GPU if there is one."""
        transformers_logging.set_verbosity_error()
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True
        )
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"))

    def scores(self, texts: Sequence[EncodedText], is_mean: bool, batch_tokens: int) -> list[float]:
        """The log-likelihood of each response, or its mean over the response's tokens.

        Equal texts are computed once; texts of about the same length together, up to `batch_tokens` with their padding.
        """
        keys = [(text.tokens.tobytes(), text.response_start) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        left = sorted(distinct, key=lambda key: len(key[0]))
        found: dict[tuple[bytes, int], float] = {}
        with progress(total=len(left), desc="likelihood", unit="text") as bar:
            while left:
                longest = len(distinct[left[-1]].tokens)
                batch = [left.pop() for _ in range(min(len(left), max(1, batch_tokens // longest)))]
                sums = self.log_likelihoods([distinct[key] for key in batch])
                found.update(zip(batch, sums, strict=True))
                bar.update(len(batch))
        lengths = [len(text.tokens) - text.response_start if is_mean else 1 for text in texts]
        return [found[key] / length for key, length in zip(keys, lengths, strict=True)]

    @torch.inference_mode()
    def log_likelihoods(self, texts: Sequence[EncodedText]) -> list[float]:
        """The sum of log p(token | those before it) over the tokens of each response, in float32."""
        longest = max(len(text.tokens) for text in texts)
        # Padding comes after all that is read, and nothing before it attends to it.
        tokens = np.zeros((len(texts), longest), np.int64)
        for row, text in enumerate(texts):
            tokens[row, : len(text.tokens)] = text.tokens
        first = min(text.response_start for text in texts) - 1
        inputs = torch.from_numpy(tokens).to(self._model.device)
        logits = self._model(inputs, logits_to_keep=longest - first, use_cache=False).logits
        log_probs = logits.float().log_softmax(-1)[:, :-1]
        found = log_probs.gather(-1, inputs[:, first + 1 :, None])[..., 0].cpu().numpy()
        return [
            float(found[row, text.response_start - first - 1 : len(text.tokens) - first - 1].sum())
            for row, text in enumerate(texts)
        ]
