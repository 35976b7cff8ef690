"""A reward model behind HTTP."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Le

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Remedy,
    StorePath,
)
from codepmp_jax.config.mesh import MeshConfig
from codepmp_jax.config.scoring import ScorerConfig, TextsConfig


@dataclasses.dataclass(frozen=True)
class LimitsConfig(Config, section="limits"):
    """What the server takes before it refuses, and how long it works on a request."""

    body_bytes: PositiveInt = 16 * 2**20
    """Most bytes of a request's body; more is answered with 413."""
    texts: PositiveInt = 1024
    """Most texts of a request; more are answered with 413."""
    queued_texts: PositiveInt = 8192
    """Most texts that wait to be scored; a request that would exceed them is answered with 429."""
    connections: PositiveInt = 512
    """Most connections at a time; others are answered with 503."""
    seconds: PositiveFloat = 120.0
    """Longest time of a request, from its first byte on; then it is answered with 504."""
    drain_seconds: PositiveInt = 60
    """Longest time to answer what is under way after SIGTERM."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.texts <= self.queued_texts,
            "limits.texts",
            self.texts,
            f"must not exceed limits.queued_texts ({self.queued_texts}), or it would never be scored",
            "raise limits.queued_texts",
        )


@dataclasses.dataclass(frozen=True)
class ServeConfig(Config):
    """Serves rewards over HTTP, for RL frameworks."""

    model: StorePath = ""
    """Reward model: a Hugging Face folder, or a training run, local or gs://."""
    backend: Literal["auto", "torch", "jax"] = "auto"
    """`torch` scores with a Hugging Face folder, `jax` with a run's checkpoint. `auto`: `jax` for gs:// and for a folder
    that holds `checkpoints`."""
    step: int | None = None
    """Step of the run's checkpoint (jax); by default the newest."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine only. Without the environment variable
    CODEPMP_API_KEY, which requests must then bring (`Authorization: Bearer KEY`), whoever reaches it may use it."""
    port: Annotated[
        int, Ge(0), Le(65535), Remedy("give a free port, or 0 to take any, which is printed")
    ] = 5000
    """Port to listen on; 0 takes a free one."""
    queries: Literal["whole", "split"] = "whole"
    """What the texts in `query` of /get_reward are. `whole`: as the model reads them, the template of its texts applied, as
    OpenRLHF sends them. `split`: each begins with its text in `prompts`; prompt and rest are written in the model's
    form."""
    gather_seconds: NonNegativeFloat = 0.005
    """Time that an idle model waits for more requests to score together with the first."""
    limits: LimitsConfig = LimitsConfig()
    texts: TextsConfig = TextsConfig()
    scorer: ScorerConfig = ScorerConfig()
    mesh: MeshConfig = MeshConfig()
    """Layout of the devices (jax)."""
