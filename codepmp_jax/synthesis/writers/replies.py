"""What the samplers of language models share: seeds of requests, and replies as completions."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from codepmp_jax.config import SamplingConfig, WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.prompts import extract_code
from codepmp_jax.synthesis.writers.sampler import Request

TOO_LONG = "prompt too long"
REFUSED = "request refused"


def request_seed(seed: int, key: str) -> int:
    """The seed of one request: 31 bits, which every server takes."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def model_settings(writer: WriterConfig, seed: int) -> dict[str, Any]:
    """What a language model's completions depend on beside the requests, as JSON values."""
    return {
        "sampler": writer.sampler,
        "model": writer.model,
        "revision": writer.revision,
        "chat": writer.chat,
        "extract": writer.extract,
        "sampling": dataclasses.asdict(writer.sampling) | {"stop": list(writer.sampling.stop)},
        "seed": seed,
    }


def sampling_facts(sampling: SamplingConfig) -> dict[str, Any]:
    """Lineage of how the tokens were drawn; without what is off."""
    facts: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_k:
        facts["top_k"] = sampling.top_k
    if sampling.stop:
        facts["stop"] = list(sampling.stop)
    return facts


def to_completion(
    writer: WriterConfig, request: Request, reply: str, finish_reason: str, **rest: Any
) -> Completion:
    """The completion of a whole reply; `rest` are further fields of it."""
    text = extract_code(reply) if writer.extract == "code" else reply
    return Completion(request.key, text, finish_reason=finish_reason, **rest)
