"""Servers that speak OpenAI's protocol as a Sampler (extra `synthesis`)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.endpoints import Endpoint, FailedError, UnavailableError, spread
from codepmp_jax.synthesis.writers.replies import (
    REFUSED,
    TOO_LONG,
    model_settings,
    request_seed,
    sampling_facts,
    to_completion,
)
from codepmp_jax.synthesis.writers.sampler import Request, Sampler

# How servers say that a prompt and its reply do not fit into the model; there is no common code for it.
_LENGTH_ERROR = re.compile(
    r"context[ _](length|size|window)|maximum (model|context|input) length|max_model_len|"
    r"too (long|many tokens)|longer than the (maximum|model)|exceeds? the (available )?context",
    re.IGNORECASE,
)
# Of no single request: wrong key, no access, no such model or address.
_WRONG_SETTINGS = (401, 403, 404)
# Of the server, not the request.
_UNAVAILABLE = (429, 502, 503, 504)
_CONNECT_SECONDS = 10.0
_CANARY = "Say hello."


class OpenAISampler(Sampler):
    """A language model behind one or more servers, which are taken to serve the same one."""

    retries = True

    def __init__(self, config: WriterConfig, seed: int):
        """Connects to nothing yet."""
        self._config = config
        self._seed = seed
        self._facts = {
            "sampler": "openai",
            "model": config.model,
            "revision": config.revision or "",
            **sampling_facts(config.sampling),
        }
        self._endpoints = [
            Endpoint(url, config.openai.concurrency) for url in config.openai.endpoints
        ]
        self._clients: dict[Endpoint, Any] = {}
        self._headers: dict[str, Any] = {}
        # An event loop in a thread of its own: the caller may have one running already.
        self._portal: Any = None
        self._exit = contextlib.ExitStack()

    def settings(self) -> dict[str, Any]:
        """Model, revision, chat, extract and sampling."""
        return model_settings(self._config, self._seed)

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, as many at a time as the endpoints take.

        Raises UserError where no endpoint answers any more, or they refuse key, model or settings.
        """
        portal = self._portal or self._open()
        try:
            return portal.call(self._sample, requests)
        except UnavailableError as error:
            raise UserError(
                f"openai.endpoints = {self._config.openai.endpoints}: no server answers ({error}). "
                "Remedy: start the servers; the same command takes up the work."
            ) from error

    def close(self) -> None:
        """Closes the connections and the event loop."""
        if self._portal is not None:
            for client in self._clients.values():
                self._portal.call(client.close)
            self._clients.clear()
            self._portal = None
        self._exit.close()

    def _open(self) -> Any:
        """Starts the event loop, makes the clients; returns the way into the loop."""
        try:
            import anyio.from_thread
            import openai
        except ImportError as error:
            raise UserError(
                f"sampler = 'openai': the package openai cannot be imported ({error}). Remedy: pip "
                "install openai, or 'codepmp_jax[synthesis]'."
            ) from error
        self._portal = self._exit.enter_context(anyio.from_thread.start_blocking_portal())
        config = self._config.openai
        key = os.environ.get(config.api_key_variable, "")
        self._headers = {} if key else {"Authorization": openai.omit}
        for endpoint in self._endpoints:
            self._clients[endpoint] = openai.AsyncOpenAI(
                base_url=endpoint.url,
                api_key=key or "none",
                timeout=openai.Timeout(
                    config.timeout_seconds, connect=min(_CONNECT_SECONDS, config.timeout_seconds)
                ),
            )
        return self._portal

    async def _sample(self, requests: Sequence[Request]) -> list[Completion]:
        results = await spread(requests, self._endpoints, self._ask)
        completions = [
            Completion(request.key, "", "error", str(result))
            if isinstance(result, FailedError)
            else result
            for request, result in zip(requests, results, strict=True)
        ]
        failures = {completion.failure for completion in completions}
        if completions and failures <= {"error", REFUSED}:
            await self._require_any_reply(requests[0], completions[0].detail)
        return completions

    async def _require_any_reply(self, request: Request, detail: str) -> None:
        """Tells requests that fail from settings with which any request would."""
        canary = dataclasses.replace(request, key="canary", prompt=_CANARY)
        (result,) = await spread([canary], self._endpoints, self._ask)
        if isinstance(result, FailedError) or result.failure == REFUSED:
            raise UserError(
                f"openai.endpoints = {self._config.openai.endpoints}: every request fails, even "
                f"{_CANARY!r} ({detail}). Remedy: check model, sampling and chat against what the "
                "servers take."
            )

    async def _ask(self, endpoint: Endpoint, request: Request) -> Completion:
        """One request to one endpoint, sent again with growing pauses where that may help."""
        import openai

        retries = self._config.openai.max_retries // len(self._endpoints) if endpoint.is_up else 0
        client = self._clients[endpoint].with_options(max_retries=retries)
        try:
            response = await self._send(client, request)
        except openai.APIStatusError as error:
            return self._refusal(endpoint, request, error)
        except openai.APITimeoutError as error:
            raise FailedError(f"no reply in {self._config.openai.timeout_seconds:g} s") from error
        except openai.APIConnectionError as error:
            raise UnavailableError(repr(error.__cause__ or error)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise FailedError(f"malformed reply: {error!r}") from error
        return self._completion(request, response)

    async def _send(self, client: Any, request: Request) -> Any:
        sampling = self._config.sampling
        options: dict[str, Any] = {
            "model": self._config.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request_seed(self._seed, request.key),
            "extra_headers": self._headers,
        }
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        if sampling.top_k:
            # Not in OpenAI's own interface, but in that of vLLM, SGLang and llama.cpp.
            options["extra_body"] = {"top_k": sampling.top_k}
        if self._config.chat == "never":
            return await client.completions.create(prompt=request.prompt, **options)
        messages = [{"role": "user", "content": request.prompt}]
        return await client.chat.completions.create(messages=messages, **options)

    def _refusal(self, endpoint: Endpoint, request: Request, error: Any) -> Completion:
        """What an error status means: for this request, for its endpoint, or for all."""
        said = f"{error.status_code}: {error.message}"
        if error.status_code in _WRONG_SETTINGS:
            raise UserError(
                f"openai.endpoints: {endpoint.url} refuses model {self._config.model!r} ({said}). Remedy: "
                f"check --model, the URL and the key in {self._config.openai.api_key_variable}."
            ) from error
        if error.status_code in _UNAVAILABLE:
            raise UnavailableError(said) from error
        if error.status_code >= 500:
            raise FailedError(said) from error
        failure = TOO_LONG if _LENGTH_ERROR.search(error.message) else REFUSED
        return Completion(request.key, "", failure, said)

    def _completion(self, request: Request, response: Any) -> Completion:
        choices = getattr(response, "choices", None)
        if not choices:
            raise FailedError(f"malformed reply: {str(response)[:200]}")
        choice = choices[0]
        reply = choice.text if self._config.chat == "never" else choice.message.content
        usage = response.usage
        counts: dict[str, Any] = {
            "num_prompt_tokens": usage.prompt_tokens if usage else 0,
            "num_tokens": usage.completion_tokens if usage else 0,
        }
        if choice.finish_reason not in ("stop", "length"):
            detail = f"finish reason {choice.finish_reason}"
            return Completion(request.key, "", REFUSED, detail, **counts)
        facts = self._facts | {"seed": request_seed(self._seed, request.key)}
        return to_completion(
            self._config, request, reply or "", choice.finish_reason, facts=facts, **counts
        )
