"""Log-probs of a reference model as companions of pairs, and whether they are those of a run's pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.records.log_probs import ORIGIN, PairLogProbs, open_log_probs, read_origin
from codepmp_jax.records.schema import PreferencePair

# What forms the tokens of a pair, beside its shards and the tokenizer.
TEXT_SETTINGS = (
    "template",
    "max_length",
    "length_policy",
    "append_eos",
    "response_window",
    "date",
)


def text_settings(config: DataConfig) -> dict[str, Any]:
    """The settings that form the tokens of a pair; JSON values."""
    return {name: getattr(config, name) for name in TEXT_SETTINGS}


def flat_shards(shards: Any) -> list[str]:
    """The sha256 of shards as one list, of a mixture too."""
    if isinstance(shards, Mapping):
        return [one for some in shards.values() for one in flat_shards(some)]
    return list(shards)


def require_origin(
    folder: str,
    config: DataConfig,
    shards: Sequence[str],
    tokenizer: Mapping[str, str],
    own_tokenizer: bool = False,
) -> dict[str, Any]:
    """The manifest of a folder of log-probs, which must be of all `shards`, and of texts written and cut as `config`
    does by the tokenizer whose parts have these sha256.

    With `own_tokenizer` they may be of another tokenizer, and cut by its own tokens. Raises UserError that names the
    first field that differs, with both values.
    """
    manifest = read_origin(folder)
    origin = manifest[ORIGIN]
    known = set(origin["shards"])
    missing = [one for one in shards if one not in known]
    differing: list[tuple[str, Any, Any]] = []
    if missing:
        differing.append(("shards", f"{len(known)} others", f"{missing[0][:12]}..."))
    theirs = origin["tokenizer"]
    if not own_tokenizer:
        differing += [
            (f"tokenizer.{name}", theirs.get(name), tokenizer.get(name))
            for name in sorted(theirs.keys() | tokenizer.keys())
            if theirs.get(name) != tokenizer.get(name)
        ]
    by_tokens = ("max_length", "length_policy") if own_tokenizer else ()
    differing += [
        (f"texts.{name}", origin["texts"].get(name), value)
        for name, value in text_settings(config).items()
        if origin["texts"].get(name) != value and name not in by_tokens
    ]
    if differing:
        field, before, now = differing[0]
        raise UserError(
            f"{folder}: the log-probs are stale: {field} was {before!r}, is {now!r}. Remedy: compute them again "
            "(`codepmp logprobs`) with these pairs, tokenizer and data settings, or train with those that they are of."
        )
    return manifest


def _found(folder: str, record: PreferencePair, item: TokenizedPair, exact: bool) -> PairLogProbs:
    """The log-probs of the pair in a row; `exact`: of just its tokens."""
    found = open_log_probs(folder).find(record)
    lengths = [len(labels) for _, _, labels in item.labelled(SIDES)]
    if exact and found.num_tokens.tolist() != lengths:
        raise UserError(
            f"{folder}: pair {record.pair_id}: its log-probs are of {found.num_tokens.tolist()} response tokens, but its "
            f"row has {lengths}: it was cut for its row. Remedy: leave out data.row_length, or set "
            "data.length_policy to drop, and compute them again."
        )
    return found


@dataclasses.dataclass(frozen=True)
class ReferenceSums:
    """Makes the companion of a pair: log p of chosen and rejected (2,), each summed over its response."""

    folder: str
    own_tokenizer: bool = False
    """Whether they may be of other tokens than the row's."""

    def __call__(self, record: PreferencePair, item: TokenizedPair) -> Float32[np.ndarray, " 2"]:
        """Raises UserError where the folder has none of this pair, or of other tokens."""
        return _found(self.folder, record, item, not self.own_tokenizer).sums


@dataclasses.dataclass(frozen=True)
class ReferenceTokens:
    """Makes the companion of a pair's labels: log p of each."""

    folder: str

    def __call__(self, record: PreferencePair, item: TokenizedPair) -> Float32[np.ndarray, " C"]:
        """Raises UserError where the folder has none of this pair, or of other tokens."""
        return _found(self.folder, record, item, True).tokens
