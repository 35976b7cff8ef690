"""A causal LM of transformers as a Sampler (extra `torch`): small models, and machines where vLLM does not run."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.model_folder import folder_settings
from codepmp_jax.synthesis.writers.prompts import Prompts
from codepmp_jax.synthesis.writers.replies import (
    model_settings,
    request_seed,
    sampling_facts,
    to_completion,
)
from codepmp_jax.synthesis.writers.sampler import Request, Sampler


class _Asked(NamedTuple):
    """A request, and the tokens of its prompt."""

    request: Request
    tokens: list[int]


class Drawn(LogitsProcessor):
    """Leaves one token of each row: that at the row's random number of the step, by the probabilities in their order.

    So a row's tokens do not depend on the rows beside it, but for the rounding of its logits."""

    def __init__(self, numbers: Float[np.ndarray, "B S"], num_prompt_tokens: int):
        """`numbers` are uniform in [0, 1), one for each row and step."""
        self._numbers = torch.from_numpy(numbers)
        self._start = num_prompt_tokens

    def __call__(  # noqa: D102 (as in LogitsProcessor)
        self, input_ids: Int[Tensor, "B L"], scores: Float[Tensor, "B V"]
    ) -> Float[Tensor, "B V"]:
        sums = scores.double().softmax(-1).cumsum(-1)
        numbers = self._numbers[:, input_ids.shape[1] - self._start, None].to(sums.device)
        # Of a token that cannot be drawn the sum is that of the one before it, so it is never the first that is above.
        tokens = torch.searchsorted(sums, numbers * sums[:, -1:], right=True)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)


class TransformersSampler(Sampler):
    """A language model in this process, on its GPU where there is one."""

    def __init__(self, config: WriterConfig, seed: int):
        """Loads nothing yet."""
        self._config = config
        self._seed = seed
        self._model: Any = None
        self._tokenizer: Any = None
        self._prompts: Any = None
        self._facts: dict[str, Any] = {}

    def settings(self) -> dict[str, Any]:
        """Model, revision or, of a local folder, fingerprint, chat, extract, sampling, dtype.

        Raises UserError where the model is a path, but no folder of a causal LM.
        """
        settings = model_settings(self._config, self._seed) | folder_settings(self._config.model)
        return settings | {"dtype": self._config.transformers.dtype}

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request. Raises UserError where the model does not load."""
        found = {completion.key: completion for completion in self.stream(requests)}
        return [found[request.key] for request in requests]

    def stream(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """The completions as they come, a batch of prompts of nearly one length after the other."""
        if self._model is None:
            self._load()
        asked: list[_Asked] = []
        for one in self._prompts.encode_all(requests, self._longest):
            if isinstance(one, Completion):
                yield one
            else:
                asked.append(_Asked(*one))
        asked.sort(key=lambda one: len(one.tokens))
        size = self._config.transformers.batch_rows
        for start in range(0, len(asked), size):
            yield from self._write(asked[start : start + size])

    def close(self) -> None:
        """Frees the model's memory."""
        self._model = self._tokenizer = self._prompts = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def _longest(self) -> int:
        """Tokens of prompt and reply together that the model can read."""
        return getattr(self._model.config, "max_position_embeddings", None) or 1 << 30

    def _load(self) -> None:
        config = self._config
        settings = self.settings()
        transformers_logging.set_verbosity_error()
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                config.model,
                revision=config.revision,
                dtype=getattr(torch, config.transformers.dtype, "auto"),
                output_loading_info=True,
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(config.model, revision=config.revision)
        except (
            Exception
        ) as error:  # whatever transformers, PyTorch or the hub say: one answer for all
            raise UserError(
                f"model = {config.model!r}: transformers did not load it ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}). Remedy: give a Hugging Face folder or hub name of a causal LM that this machine holds."
            ) from error
        model, report = loaded
        require(
            not report["missing_keys"],
            f"model = {config.model!r}: tensors not in the files",
            sorted(report["missing_keys"]),
            "must all be there: without an LM head nothing can be written",
            "copy the folder again, or convert the run again with --heads lm",
        )
        ends = model.generation_config.eos_token_id
        if ends is None:
            ends = tokenizer.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}
        # Sampling that the model's authors propose is not the settings'.
        model.generation_config = GenerationConfig()
        self._prompts = Prompts(tokenizer, config)
        self._model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = tokenizer
        commit = getattr(model.config, "_commit_hash", None)
        self._facts = {
            "sampler": "transformers",
            "model": settings["model"],
            "revision": settings["revision"] or commit or "",
            **sampling_facts(config),
        }

    def _processors(self, seeds: Sequence[int], steps: int, width: int) -> LogitsProcessorList:
        """What becomes of the logits before the greatest is taken."""
        sampling = self._config.sampling
        found: list[LogitsProcessor] = []
        if sampling.temperature > 0:
            found.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                found.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                found.append(TopPLogitsWarper(sampling.top_p))
            numbers = np.stack([np.random.default_rng(seed).random(steps) for seed in seeds])
            found.append(Drawn(numbers, width))
        return LogitsProcessorList(found)

    @torch.inference_mode()
    def _write(self, asked: Sequence[_Asked]) -> Iterator[Completion]:
        """The completions of a batch."""
        sampling = self._config.sampling
        width = max(len(one.tokens) for one in asked)
        steps = min(sampling.max_tokens, self._longest - width)
        pad = min(self._ends, default=0)
        rows = [[pad] * (width - len(one.tokens)) + one.tokens for one in asked]
        mask = [[0] * (width - len(one.tokens)) + [1] * len(one.tokens) for one in asked]
        seeds = [request_seed(self._seed, one.request.key) for one in asked]
        device = self._model.device
        stop: dict[str, Any] = {}
        if sampling.stop:
            stop = {"stop_strings": list(sampling.stop), "tokenizer": self._tokenizer}
        written = self._model.generate(
            torch.tensor(rows, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=steps,
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=pad,
            ),
            logits_processor=self._processors(seeds, steps, width),
            **stop,
        )
        for one, seed, row in zip(asked, seeds, written[:, width:].tolist(), strict=True):
            yield self._completion(one, seed, row)

    def _completion(self, one: _Asked, seed: int, row: list[int]) -> Completion:
        """The completion of a row's tokens: up to its end token, and to the first of the texts that end a reply."""
        length = next((i for i, token in enumerate(row) if token in self._ends), None)
        reply = self._tokenizer.decode(row[:length], skip_special_tokens=True)
        places = [at for text in self._config.sampling.stop if (at := reply.find(text)) >= 0]
        if places:
            reply = reply[: min(places)]
        return to_completion(
            self._config,
            one.request,
            reply,
            "length" if length is None and not places else "stop",
            len(row) if length is None else length + 1,
            len(one.tokens),
            self._facts | {"seed": seed},
        )
