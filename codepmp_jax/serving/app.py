"""The routes.

    POST /get_reward    OpenRLHF's contract; or prompts and responses, as the reward functions send them
    POST /classify      vLLM's, for a model of one label without an activation
    GET  /health        200 while the model can score, else 503
    GET  /metrics       Prometheus

A reward is a JSON number that is the float32 exactly. What cannot be answered is answered with a status and one line of
why; no text of a request that is refused is scored.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware import Middleware
from pydantic import BaseModel
from starlette.exceptions import HTTPException as AnyHTTPException

from codepmp_jax.config import LimitsConfig
from codepmp_jax.serving.batcher import Batcher, Closed, QueueFull
from codepmp_jax.serving.guard import Guard, error_response
from codepmp_jax.serving.metrics import Metrics
from codepmp_jax.serving.texts import Rows, TextReader
from codepmp_jax.serving.worker import ScoringError
from codepmp_jax.text.forms import Refused

Turns = str | list[dict[str, Any]]


class RewardRequest(BaseModel):
    """The body of /get_reward. Further entries are ignored, as OpenRLHF's `labels` are, which a reward model does not
    read."""

    query: list[str] | None = None
    """Prompts and responses in one text each (serve's `queries` says in which form)."""
    prompts: list[Turns] | None = None
    """The prompt of each text."""
    responses: list[Turns] | None = None
    """In the place of `query`: the response to each prompt."""


class ClassifyRequest(BaseModel):
    """The body of /classify, as vLLM's: texts as the model reads them, or as tokens; or one conversation."""

    model: str | None = None
    input: str | list[int] | list[str] | list[list[int]] | None = None
    messages: list[dict[str, Any]] | None = None


class _Disconnected(Exception):
    """The client is gone."""


def make_app(
    name: str,
    reader: TextReader,
    batcher: Batcher,
    metrics: Metrics,
    limits: LimitsConfig,
    queries: Literal["whole", "split"] = "whole",
    key: str = "",
) -> FastAPI:
    """The application that serves the model called `name`."""
    guard = Middleware(Guard, limits=limits, key=key, metrics=metrics)
    # Its own pages would load scripts from elsewhere.
    app = FastAPI(title=name, middleware=[guard], openapi_url=None)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return error_response(400, f"{place}: {first['msg']}")

    @app.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return error_response(error.status_code, str(error.detail), headers)

    @app.exception_handler(_Disconnected)
    async def disconnected(_: Request, error: _Disconnected) -> Response:
        # Nobody reads it; 499 is what proxies call it.
        return error_response(499, "the client is gone")

    async def score(
        request: Request, num_texts: int, read: Callable[[], Rows]
    ) -> tuple[Rows, np.ndarray]:
        if num_texts > limits.texts:
            raise HTTPException(
                413, f"{num_texts} texts are more than {limits.texts} (limits.texts)"
            )
        try:
            rows = await asyncio.to_thread(read)
        except Refused as error:
            raise HTTPException(400, str(error)) from error
        if not rows.rows:
            return rows, np.zeros(0, np.float32)
        metrics.cut.inc(sum(rows.is_cut))
        try:
            rewards = await _unless_gone(request, asyncio.wrap_future(batcher.submit(rows.rows)))
        except QueueFull as error:
            message = f"the queue is full ({error}; limits.queued_texts): send it again later"
            raise HTTPException(429, message, {"Retry-After": "1"}) from error
        except Closed as error:
            raise HTTPException(503, "the server is shutting down") from error
        except ScoringError as error:
            raise HTTPException(500, str(error)) from error
        return rows, rewards

    def read_reward_request(body: RewardRequest) -> Rows:
        if body.responses is not None:
            return reader.answers(body.prompts or [], body.responses)
        texts = body.query or []
        if queries == "whole":
            return reader.whole(texts)
        prompts = [prompt for prompt in body.prompts or [] if isinstance(prompt, str)]
        return reader.split(texts, prompts)

    @app.post("/get_reward")
    async def get_reward(body: RewardRequest, request: Request) -> dict[str, Any]:
        given = body.query if body.responses is None else body.responses
        if given is None or (body.query is not None and body.responses is not None):
            raise HTTPException(400, "body: must hold `query`, or else `prompts` and `responses`")
        rows, rewards = await score(request, len(given), lambda: read_reward_request(body))
        values = rewards.tolist()
        logs = {
            "num_tokens": [len(row) for row in rows.rows],
            "is_cut": [int(is_cut) for is_cut in rows.is_cut],
        }
        return {"rewards": values, "scores": values, "extra_logs": logs}

    @app.post("/classify")
    async def classify(body: ClassifyRequest, request: Request) -> dict[str, Any]:
        if (body.input is None) == (body.messages is None):
            raise HTTPException(400, "body: must hold either `input` or `messages`")
        texts, read = _classified(body, reader)
        rows, rewards = await score(request, len(texts), read)
        num_tokens = sum(map(len, rows.rows))
        return {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": [
                {"index": index, "label": "LABEL_0", "probs": [reward], "num_classes": 1}
                for index, reward in enumerate(rewards.tolist())
            ],
            "usage": {
                "prompt_tokens": num_tokens,
                "total_tokens": num_tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
            },
        }

    @app.get("/health")
    async def health() -> Response:
        if not batcher.is_ready:
            return error_response(503, "the process that holds the model is not there")
        return Response(status_code=200)

    @app.get("/metrics")
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _classified(body: ClassifyRequest, reader: TextReader) -> tuple[list[Any], Callable[[], Rows]]:
    """(the texts, what makes their rows)."""
    if body.messages is not None:
        last = body.messages[-1:]
        before = body.messages[:-1]
        return [last], lambda: reader.answers([before], [last])
    if isinstance(body.input, str):
        texts: list[Any] = [body.input]
    elif body.input and isinstance(body.input[0], int):
        texts = [body.input]
    else:
        texts = list(body.input or [])
    is_tokens = bool(texts) and not isinstance(texts[0], str)
    return texts, lambda: (reader.tokens if is_tokens else reader.whole)(texts)


async def _unless_gone(request: Request, answer: asyncio.Future[np.ndarray]) -> np.ndarray:
    """The answer. Where the client goes, or its time is over, before there is one, it is taken back."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(gone())
    try:
        await asyncio.wait({answer, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise _Disconnected
        return answer.result()
    finally:
        watch.cancel()
        answer.cancel()
