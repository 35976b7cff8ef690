"""Servers, and the sampler that asks them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from codepmp_jax.config import OpenAIConfig, WriterConfig
from codepmp_jax.synthesis.writers.openai_sampler import OpenAISampler
from tests.synthesis.writers.servers import Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*args: Any) -> Server:
        servers.append(Server(*args))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def dead() -> str:
    """The URL of a server that is none."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}/v1"


@pytest.fixture
def sampler(short_pauses) -> Iterator[Callable[..., OpenAISampler]]:
    made: list[OpenAISampler] = []

    def make(*urls: str, **settings: Any) -> OpenAISampler:
        chosen: dict[str, Any] = {"max_retries": 2}
        for name in OpenAIConfig.__dataclass_fields__.keys() - {"endpoints"}:
            if name in settings:
                chosen[name] = settings.pop(name)
        config = WriterConfig(
            sampler="openai",
            model=settings.pop("model", "m"),
            openai=OpenAIConfig(endpoints=urls, **chosen),
            **settings,
        )
        made.append(OpenAISampler(config, seed=3))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def short_pauses(monkeypatch):
    """The library's pauses between retries, a hundred times as short."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.08)
    monkeypatch.setattr("codepmp_jax.synthesis.writers.rate_limit._FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
