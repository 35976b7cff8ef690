"""Servers that speak OpenAI's protocol as a Sampler (extra `synthesis`).

What a server's answer means, by its status:

    200                 a reply (server_replies.py), or a malformed one, which fails this request
    401                 the key is wrong: the run ends
    402, 429, 529       the server limits its rate, or a quota is used up: the same request is sent later (rate_limit.py)
    408, 409, 425, 5xx  the server fails on this request: sent again max_retries times, then by other servers, then failed
    502, 503, 504       the same, but the server is taken as down; so it is where no connection is made
    other 4xx           this request is refused; if `Say hello.` is refused too, the settings are wrong and the run ends
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.endpoints import Endpoint, FailedError, UnavailableError, spread
from codepmp_jax.synthesis.writers.rate_limit import LimitedError, seconds_asked
from codepmp_jax.synthesis.writers.replies import (
    ERROR,
    REFUSED,
    TOO_LONG,
    model_settings,
    request_seed,
    sampling_facts,
    to_completion,
)
from codepmp_jax.synthesis.writers.sampler import Request, Sampler
from codepmp_jax.synthesis.writers.server_replies import (
    MalformedError,
    read_error,
    read_reply,
    short,
)

# How servers say that a prompt and its reply do not fit into the model; there is no common code for it.
_LENGTH_ERROR = re.compile(
    r"context[ _](length|size|window)|maximum (model|context|input) length|max_model_len|max_seq_len|"
    r"too (long|large|many tokens)|longer than the (maximum|model)|exceeds? the (available )?context|"
    r"max_(completion_)?tokens must be at least|string_above_max_length|reduce the length|input tokens exceed",
    re.IGNORECASE,
)
_WRONG_KEY = 401
_LIMITED = (402, 429, 529)
_FAILED = (408, 409, 425)
_UNAVAILABLE = (502, 503, 504)
_TOO_LARGE = 413
# Statuses of wrong settings as often as of a single request.
_NO_ACCESS = (403, 404)
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
            **{
                name: value
                for name, value in sampling_facts(config).items()
                if name not in config.openai.omit
            },
        }
        self._endpoints = [
            Endpoint(url, config.openai.concurrency) for url in config.openai.endpoints
        ]
        self._clients: dict[Endpoint, Any] = {}
        self._headers: dict[str, Any] = {}
        # Refusals of each endpoint since its last reply, and the models that they said they were.
        self._num_refusals: dict[Endpoint, int] = {}
        self._other_models: set[str] = set()
        # An event loop in a thread of its own: the caller may have one running already.
        self._portal: Any = None
        self._exit = contextlib.ExitStack()

    def settings(self) -> dict[str, Any]:
        """Model, revision, chat, extract, sampling, and what is not sent of it."""
        omit = self._config.openai.omit
        settings = model_settings(self._config, self._seed)
        return settings | {"omit": sorted(omit)} if omit else settings

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, as many at a time as the endpoints take.

        Raises UserError where no endpoint answers any more, or they refuse key, model or settings.
        """
        found = {completion.key: completion for completion in self.stream(requests)}
        return [found[request.key] for request in requests]

    def stream(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """The completions as they come. Raises as `sample` does, after what had come."""
        portal = self._portal or self._open()
        came: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        work = portal.start_task_soon(self._sample, requests, came.put)
        work.add_done_callback(lambda _: came.put(None))
        try:
            while (completion := came.get()) is not None:
                yield completion
            work.result()
        except UnavailableError as error:
            raise UserError(
                f"openai.endpoints = {self._config.openai.endpoints}: no server answers ({error}). "
                "Remedy: start the servers, or raise --openai.max-wait-seconds where they limit their rate; the "
                "same command takes up the work, and asks again for nothing that was answered."
            ) from error
        finally:
            work.cancel()

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
        key = os.environ.get(config.api_key_variable, "").strip()
        self._headers = {} if key else {"Authorization": openai.omit}
        for endpoint in self._endpoints:
            self._clients[endpoint] = openai.AsyncOpenAI(
                base_url=endpoint.url,
                api_key=key or "none",
                timeout=openai.Timeout(
                    config.timeout_seconds, connect=min(_CONNECT_SECONDS, config.timeout_seconds)
                ),
                http_client=openai.DefaultAsyncHttpxClient(
                    event_hooks={"response": [_leave_limits]}
                ),
            )
        return self._portal

    async def _sample(self, requests: Sequence[Request], put: Callable[[Completion], None]) -> None:
        failures: set[str] = set()
        detail = ""

        def arrived(number: int, result: Completion | FailedError) -> None:
            nonlocal detail
            if isinstance(result, FailedError):
                result = Completion(requests[number].key, "", ERROR, str(result))
            failures.add(result.failure)
            detail = detail or result.detail
            put(result)

        max_wait = self._config.openai.max_wait_seconds
        await spread(requests, self._endpoints, self._ask, arrived, max_wait)
        if failures and failures <= {ERROR, REFUSED, TOO_LONG}:
            await self._require_any_reply(requests[0], detail)

    async def _require_any_reply(self, request: Request, detail: str) -> None:
        """Tells requests that fail from settings with which any request would."""
        found: list[Completion | FailedError] = []
        await spread(
            [_canary(request)],
            self._endpoints,
            self._ask,
            lambda _, result: found.append(result),
            self._config.openai.max_wait_seconds,
        )
        if isinstance(found[0], FailedError) or found[0].failure in (REFUSED, TOO_LONG):
            raise self._wrong_settings(detail)

    def _wrong_settings(self, said: str) -> UserError:
        """The error of settings with which every request fails; `said` are a server's words."""
        remedy = "check model, sampling and chat against what the servers take"
        named = [
            name
            for name in ("seed", "temperature", "top_p", "max_tokens")
            if re.search(rf"\b{name}\b", said) and name not in self._config.openai.omit
        ]
        if "max_completion_tokens" in said and self._config.openai.max_tokens_name == "max_tokens":
            remedy = "--openai.max-tokens-name max_completion_tokens"
        elif _LENGTH_ERROR.search(said):
            remedy = "lower --sampling.max-tokens, or serve the model with a longer context"
        elif named:
            remedy = (
                f"--openai.omit {' '.join(named)}, which leaves out what the servers do not take"
            )
        elif "enable_thinking" in said or "chat_template_kwargs" in said:
            remedy = "leave out enable_thinking, which the servers do not take"
        return UserError(
            f"openai.endpoints = {self._config.openai.endpoints}: every request fails, even {_CANARY!r} ({said}). "
            f"Remedy: {remedy}."
        )

    async def _ask(self, endpoint: Endpoint, request: Request) -> Completion:
        """One request to one endpoint, sent again with growing pauses where that may help."""
        import openai

        try:
            body = await self._send(endpoint, request)
            reply = read_reply(body)
        except openai.APIStatusError as error:
            status, response = error.status_code, error.response
            said = read_error(status, response.text)
            return await self._refusal(endpoint, request, status, said, response.headers)
        except openai.APIConnectionError as error:
            said = short(repr(error.__cause__ or error))
            # ConnectError, ConnectTimeout. A server that breaks off or never answers may do so for this request alone.
            if "Connect" in type(error.__cause__).__name__:
                raise UnavailableError(said) from error
            if isinstance(error, openai.APITimeoutError):
                said = f"no reply in {self._config.openai.timeout_seconds:g} s"
            raise FailedError(said) from error
        except MalformedError as error:
            raise FailedError(f"malformed reply: {error}") from error
        except Exception as error:
            # Whatever else a server makes the library stumble over is this request's.
            raise FailedError(f"malformed reply: {short(repr(error))}") from error
        if isinstance(reply, dict):
            code = reply.get("code")
            said = short(f"{code}: {reply.get('message')}")
            if not isinstance(code, int) or code < 400:
                raise FailedError(said)
            return await self._refusal(endpoint, request, code, said, {})
        self._num_refusals[endpoint] = 0
        if reply.refusal and not reply.text:
            return Completion(request.key, "", REFUSED, reply.refusal)
        facts = dict(self._facts)
        if "seed" not in self._config.openai.omit:
            facts["seed"] = request_seed(self._seed, request.key)
        if reply.model and reply.model != self._config.model:
            facts["served_model"] = reply.model
            if reply.model not in self._other_models:
                self._other_models.add(reply.model)
                logging.warning(
                    "%s says that %r writes where %r is asked; the lineage holds both",
                    endpoint.url,
                    reply.model,
                    self._config.model,
                )
        return to_completion(
            self._config,
            request,
            reply.text,
            reply.finish_reason,
            reply.num_tokens,
            reply.num_prompt_tokens,
            facts,
        )

    async def _send(self, endpoint: Endpoint, request: Request) -> str:
        """The body of the response."""
        config, sampling = self._config.openai, self._config.sampling
        retries = config.max_retries // len(self._endpoints) if endpoint.is_up else 0
        client = self._clients[endpoint].with_options(max_retries=retries)
        options: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request_seed(self._seed, request.key),
        }
        options = {name: value for name, value in options.items() if name not in config.omit}
        if "max_tokens" in options:
            options[config.max_tokens_name] = options.pop("max_tokens")
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        extra: dict[str, Any] = {}
        if sampling.top_k:
            # Not in OpenAI's own interface, but in that of vLLM, SGLang and llama.cpp.
            extra["top_k"] = sampling.top_k
        if self._config.enable_thinking is not None:
            extra["chat_template_kwargs"] = {"enable_thinking": self._config.enable_thinking}
        options |= {"model": self._config.model, "extra_headers": self._headers}
        if self._config.chat == "never":
            # The library's completions know no max_completion_tokens.
            if "max_completion_tokens" in options:
                extra["max_completion_tokens"] = options.pop("max_completion_tokens")
            raw = await client.completions.with_raw_response.create(
                prompt=request.prompt, extra_body=extra, **options
            )
        else:
            messages = [{"role": "user", "content": request.prompt}]
            raw = await client.chat.completions.with_raw_response.create(
                messages=messages, extra_body=extra, **options
            )
        return raw.text

    async def _refusal(
        self,
        endpoint: Endpoint,
        request: Request,
        status: int,
        said: str,
        headers: Mapping[str, str],
    ) -> Completion:
        """What an error status means: for this request, for its endpoint, or for all; see above."""
        if status == _WRONG_KEY:
            raise self._no_access(endpoint, said)
        if status in _LIMITED:
            raise LimitedError(said, seconds_asked(headers))
        if status in _UNAVAILABLE:
            raise UnavailableError(said)
        if status >= 500 or status in _FAILED:
            raise FailedError(said)
        is_canary = request.prompt == _CANARY
        num_refusals = self._num_refusals.get(endpoint, 0) + (not is_canary)
        self._num_refusals[endpoint] = num_refusals
        # With the 1st, 2nd, 4th, 8th ... refusal in a row: are the settings at fault?
        if not is_canary and num_refusals & (num_refusals - 1) == 0:
            with contextlib.suppress(FailedError, UnavailableError, LimitedError):
                canary = await self._ask(endpoint, _canary(request))
                if canary.failure in (REFUSED, TOO_LONG):
                    is_access = status in _NO_ACCESS
                    raise (
                        self._no_access(endpoint, said) if is_access else self._wrong_settings(said)
                    )
                self._num_refusals[endpoint] = num_refusals
        is_too_long = status == _TOO_LARGE or _LENGTH_ERROR.search(said)
        return Completion(request.key, "", TOO_LONG if is_too_long else REFUSED, said)

    def _no_access(self, endpoint: Endpoint, said: str) -> UserError:
        return UserError(
            f"openai.endpoints: {endpoint.url} refuses model {self._config.model!r} ({said}). Remedy: "
            f"check --model, the URL and the key in {self._config.openai.api_key_variable}."
        )


def _canary(request: Request) -> Request:
    """A request that any server answers unless the settings are wrong."""
    return dataclasses.replace(request, key="canary", prompt=_CANARY)


async def _leave_limits(response: Any) -> None:
    """Keeps the library from sending again what a server's rate limit refused: RateLimit does."""
    if response.status_code in _LIMITED:
        response.headers["x-should-retry"] = "false"
