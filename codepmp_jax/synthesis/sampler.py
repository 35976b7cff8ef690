"""The Sampler interface: what writes text for pairs and candidates."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Request:
    """One text to be written."""

    key: str
    """What the sampler's randomness depends on, beside its seed."""
    prompt: str
    """Description of the code."""
    reference: str
    """The author's code. Only the embedded writer looks at it."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """A written text."""

    text: str
    failure: str
    """Why the text is of no use, e.g. `length not matched`; empty where it is of use."""
    facts: dict[str, Any]
    """How it was written, for the pair's lineage (JSON values)."""

    def reject_reason(self, chosen: str) -> str:
        """Why this is no worse text than `chosen` to learn from; empty where it is one."""
        if self.failure:
            return self.failure
        if not self.text.strip():
            return "empty"
        return "identical" if self.text == chosen else ""


class Sampler(abc.ABC):
    """A writer. The same settings and request give the same completion, in any batch."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that its completions depend on beside the requests (JSON values)."""

    @abc.abstractmethod
    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in their order."""
