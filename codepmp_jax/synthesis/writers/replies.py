"""What the samplers of language models share: seeds of requests, and replies as completions.

How a reply ended is `stop` or `length`, whatever words a server has for them. A word that is not known (`eos`, empty,
null) counts as `length` where the reply is as long as it may be, else as `stop`; the lineage keeps the word and
the report counts it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from codepmp_jax.config import SamplingConfig, WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.sampler import Request
from codepmp_jax.text.replies import program_of, text_of

TOO_LONG = "prompt too long"
REFUSED = "request refused"
ERROR = "error"
OWN_WORD = "server_finish_reason"
"""The fact that holds a server's own word for how a reply ended."""

_STOP, _LENGTH = "stop", "length"
_LENGTH_WORDS = frozenset(
    [
        "length",
        "max_tokens",
        "max_length",
        "max_output_tokens",
        "max_new_tokens",
        "model_length",
        "limit",
        "token_limit",
        "model_context_window_exceeded",
    ]
)
_REFUSED_WORDS = frozenset(
    [
        "content_filter",
        "content_filtered",
        "safety",
        "refusal",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "sensitive",
    ]
)
_ERROR_WORDS = frozenset(
    [
        "error",
        "abort",
        "aborted",
        "cancel",
        "canceled",
        "cancelled",
        "network_error",
        "insufficient_system_resource",
    ]
)


def request_seed(seed: int, key: str) -> int:
    """The seed of one request: 31 bits, which every server takes."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def model_settings(writer: WriterConfig, seed: int) -> dict[str, Any]:
    """What a language model's completions depend on beside the requests, as JSON values."""
    settings = {
        "sampler": writer.sampler,
        "model": writer.model,
        "revision": writer.revision,
        "chat": writer.chat,
        "extract": writer.extract,
        "sampling": dataclasses.asdict(writer.sampling) | {"stop": list(writer.sampling.stop)},
        "seed": seed,
    }
    # Only where it is set: folders that were begun without the setting go on.
    if writer.enable_thinking is not None:
        settings["enable_thinking"] = writer.enable_thinking
    return settings


def sampling_facts(writer: WriterConfig) -> dict[str, Any]:
    """Lineage of how the tokens were drawn; without what is off."""
    sampling: SamplingConfig = writer.sampling
    facts: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_k:
        facts["top_k"] = sampling.top_k
    if sampling.stop:
        facts["stop"] = list(sampling.stop)
    if writer.enable_thinking is not None:
        facts["enable_thinking"] = writer.enable_thinking
    return facts


def to_completion(
    writer: WriterConfig,
    request: Request,
    reply: str,
    finish_reason: str,
    num_tokens: int,
    num_prompt_tokens: int,
    facts: dict[str, Any],
) -> Completion:
    """The completion of a whole reply; `finish_reason` is the server's word for how it ended, by the rule above."""
    word = finish_reason.casefold()
    counts: dict[str, Any] = {"num_tokens": num_tokens, "num_prompt_tokens": num_prompt_tokens}
    if word in _REFUSED_WORDS or word in _ERROR_WORDS:
        failure = REFUSED if word in _REFUSED_WORDS else ERROR
        return Completion(request.key, "", failure, f"finish reason {finish_reason}", **counts)
    reason = _LENGTH if word in _LENGTH_WORDS else _STOP
    if word not in (_STOP, *_LENGTH_WORDS):
        if "max_tokens" in facts and num_tokens >= facts["max_tokens"]:
            reason = _LENGTH
        facts = facts | {OWN_WORD: finish_reason or '""'}
    if writer.extract == "code":
        text = program_of(reply, request.source.language)
    else:
        text = text_of(reply)
    return Completion(request.key, text, finish_reason=reason, facts=facts, **counts)
