"""The quality gate: which texts make a pair to learn from, and why the others do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from codepmp_jax.config import DecontaminationConfig, GateConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.text import languages
from codepmp_jax.text.decontamination import Decontaminator
from codepmp_jax.text.replies import is_refusal
from codepmp_jax.text.tokenization import Tokenizer

# Part of what a resumed run compares: raise it with any change of a verdict.
_VERSION = 2


class Verdict(NamedTuple):
    """Why a source gives no pair."""

    reason: str
    """What it is counted under, e.g. `chosen: empty`."""
    detail: str = ""


class Gate:
    """Judges a source's description and its two responses."""

    def __init__(self, config: GateConfig, decontamination: DecontaminationConfig):
        """Loads the training's tokenizer and the benchmarks. Raises UserError where one is missing."""
        self._config = config
        self._tokenizer = Tokenizer.load(config.tokenizer)
        self._decontaminator = Decontaminator(decontamination)

    def settings(self) -> dict[str, Any]:
        """Everything that its verdicts depend on (JSON values)."""
        return {
            **dataclasses.asdict(self._config),
            "version": _VERSION,
            "decontamination": self._decontaminator.settings(),
        }

    def judge(self, texts: Mapping[str, Completion], language: str) -> Verdict | None:
        """None for a pair of use, else the first rule that is broken.

        `texts` are what the passes describe, chosen and rejected made of the source, in this order; where
        there is no description, the two others may be missing.
        """
        for name, completion in texts.items():
            if completion.failure:
                return Verdict(f"{name}: {completion.failure}", completion.detail)
            if self._config.drop_cut_off and completion.finish_reason == "length":
                return Verdict(f"{name}: cut off", f"after {completion.num_tokens} tokens")
            if not completion.text.strip():
                return Verdict(f"{name}: empty")
            # What has no finish reason was written by no model.
            is_reply = self._config.drop_refusals and completion.finish_reason
            if is_reply and is_refusal(completion.text):
                return Verdict(f"{name}: refusal", completion.text.strip()[:80])
        prompt, chosen, rejected = (completion.text for completion in texts.values())
        if chosen == rejected:
            return Verdict("identical")
        if self._is_identical_once_truncated(prompt, chosen, rejected):
            return Verdict("identical once truncated", f"at {self._config.max_length} tokens")
        for name in self._config.parsable:
            if languages.is_parsable(texts[name].text, language) is False:
                return Verdict(f"{name}: not parsable", language)
        shorter, longer = sorted((len(chosen), len(rejected)))
        if self._config.max_length_ratio and longer > self._config.max_length_ratio * shorter:
            return Verdict("length ratio", f"{len(chosen)} to {len(rejected)} characters")
        for name, completion in texts.items():
            match = self._decontaminator.match(completion.text)
            if match is not None:
                where = f"{match.benchmark} {match.item_id}: {match.ngram}"
                return Verdict(f"{name}: contaminated", where)
        return None

    def _is_identical_once_truncated(self, prompt: str, chosen: str, rejected: str) -> bool:
        """Whether training, which sees max_length tokens of a row, could not tell the two apart."""
        characters = enumerate(zip(chosen, rejected, strict=False))
        length = next((i for i, (a, b) in characters if a != b), min(len(chosen), len(rejected)))
        common = len(chosen[:length].encode())
        # A token is a byte or more: with so few bytes in common, the difference is within the row.
        if len(prompt.encode()) + common + len(self._config.template) < self._config.max_length:
            return False
        rows = [
            self._tokenizer.format(prompt, response, self._config.template)
            for response in (chosen, rejected)
        ]
        first, second = (
            encoded.tokens[: self._config.max_length].tolist()
            for encoded in self._tokenizer.encode(rows)
        )
        return first == second
