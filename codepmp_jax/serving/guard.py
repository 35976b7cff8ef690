"""What every request must pass before a route sees it: its key, the size of its body, its time."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codepmp_jax.config import LimitsConfig
from codepmp_jax.serving.metrics import Metrics

# What load balancers and Prometheus ask, without a key.
_OPEN = ("/health", "/metrics")


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The body of every refusal, in the form of OpenAI's and vLLM's."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    content: dict[str, Any] = {"error": {"message": message, "type": kind, "code": status}}
    return JSONResponse(content, status, headers)


class Guard:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, limits: LimitsConfig, key: str, metrics: Metrics):
        """Without a `key`, everybody may ask."""
        self._app = app
        self._limits = limits
        self._key = key.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 401, 413 or 504."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limits.body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = Headers(scope=scope)
        try:
            async with asyncio.timeout(self._limits.seconds):
                if not self._is_known(scope, headers):
                    refusal = error_response(
                        401,
                        "the header `Authorization: Bearer KEY` is missing or names another key",
                        {"WWW-Authenticate": "Bearer"},
                    )
                    await refusal(scope, receive, noted)
                elif int(headers.get("content-length") or 0) > self._limits.body_bytes:
                    await error_response(413, self._too_large)(scope, receive, noted)
                else:
                    await self._app(scope, counted, noted)
        except TimeoutError:
            if not status:
                message = f"not answered within {self._limits.seconds:g} seconds (limits.seconds)"
                await error_response(504, message)(scope, receive, noted)
        finally:
            # Paths that are none have one label together, so that nobody can make many.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status or "disconnected")).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self._limits.body_bytes} bytes (limits.body_bytes)"

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        if not self._key or scope["path"] in _OPEN:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(key.encode(), self._key)
