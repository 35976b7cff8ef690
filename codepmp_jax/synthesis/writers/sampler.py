"""The Sampler interface: what writes descriptions, code and candidates."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.records.schema import Completion, SourceFile


@dataclasses.dataclass(frozen=True)
class Request:
    """One text to be written."""

    key: str
    """What the sampler's randomness depends on, beside its seed; different for different requests."""
    prompt: str
    """What a model is asked, without its chat template."""
    description: str
    """What the code is to do; empty while it is yet to be described."""
    source: SourceFile
    """What the text is for. Only the embedded samplers look at it."""


class Sampler(abc.ABC):
    """A writer. A completion depends on the sampler's settings and its request alone, not on the batch.

    Making one costs nothing: models are loaded by the first `sample`, and let go by `close`.
    """

    retries: bool = False
    """Whether a failed request is worth a second try, later."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that its completions depend on beside the requests (JSON values).

        What a model answers up to rounding (parallelism, memory, endpoints) is no part of it.
        """

    @abc.abstractmethod
    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in their order.

        A request that the model fails on gives a Completion with a failure. Raises UserError where the
        sampler as a whole cannot work (no such model, no server that answers).
        """

    def stream(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """The same completions as they come, in any order. What has come is not lost by an error on the way."""
        yield from self.sample(requests)

    def close(self) -> None:  # noqa: B027 (most samplers hold nothing)
        """Lets go of the model and its memory."""


@contextlib.contextmanager
def naming_settings(writer: str, has_model: bool) -> Iterator[None]:
    """Puts the writer's name before the settings that a model's UserError names: `rejected.model = ...`."""
    try:
        yield
    except UserError as error:
        if not has_model or isinstance(error, StoreError):
            raise
        named = re.sub(r"--(?=(?:openai|sampling|vllm)\.)", f"--{writer}.", str(error))
        raise type(error)(f"{writer}.{named}") from error
