"""Records that are left out, and what kept ones lack: the reasons, how many there are, and how a log puts it."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.text.tokenization import REMARKS, Remark

DropReason = Literal["too_long", "identical", "empty", "refused"]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)
"""`too_long`: a text is over max_length, or the pair or document does not fit a row, and data.length_policy is `drop`.
`identical`: the two texts of a pair are the same tokens, after the cut where there is one, and data.identical_policy is
`drop`; their pair loss is ln 2 whatever the model, without gradient. `empty`: a text of a pair without a token has no
reward, one without a token of the response (after the cut) no log-prob where both texts have labels, and a document of
less than two tokens no label. `refused`: the chat template or the tokenizer does not take
the record."""

_PHRASES: dict[str, str] = {
    "too_long": "too long for data.max_length {max_length} or a row",
    "identical": "with two identical texts",
    "empty": "with an empty text",
    "refused": "refused by the chat template or the tokenizer",
    "merged": "with a token across the start of a response",
    "turns_unknown": "in which the assistant's turns were not found",
}
_REMEDIES: dict[DropReason, str] = {
    "too_long": "raise data.max_length ({max_length}){row}, or set data.length_policy to {other}",
    "identical": "give pairs whose texts differ within data.max_length ({max_length}), or set "
    "data.identical_policy to keep",
    "empty": "give {noun}s with texts",
    "refused": "give a tokenizer whose chat template takes these conversations",
}

# Drops in a row without an item kept, after which a stream gives up.
_MAX_DROPS = 10_000


class Dropped(NamedTuple):
    """A record that is left out, or one of its texts."""

    reason: DropReason
    record_id: str
    why: str = ""
    """The chat template's or the tokenizer's own words, where they refuse the record."""
    source: str = ""
    """Name of the record's source in a mixture."""


def count_reasons(dropped: Sequence[Dropped]) -> dict[str, int]:
    """How many were dropped for each reason."""
    counts = collections.Counter(one.reason for one in dropped)
    return {reason: counts[reason] for reason in DROP_REASONS}


def describe(counts: Mapping[str, int], config: DataConfig) -> str:
    """The records dropped and the remarks on those kept, in words; `counts` are those of packing.count_names and
    `records`, or a part of them."""

    def listed(names: Sequence[DropReason] | Sequence[Remark]) -> str:
        found = [f"{counts[name]} {_PHRASES[name]}" for name in names if counts.get(name)]
        return ", ".join(found).format(max_length=config.max_length)

    drops, remarks = listed(DROP_REASONS), listed(REMARKS)
    return (
        (drops and f"dropped: {drops}")
        + (drops and remarks and "; ")
        + (remarks and f"kept: {remarks}")
    )


def describe_refused(refused: Sequence[Dropped], noun: str = "pair", most: int = 3) -> str:
    """The words of the template or tokenizer, each with how many records (each a `noun`) and the first of them."""
    by_why: dict[str, list[str]] = {}
    for one in refused:
        by_why.setdefault(one.why, []).append(one.record_id)
    parts = [
        f"{why!r} ({len(ids)} {noun}{'s' * (len(ids) > 1)}, e.g. {ids[0]})"
        for why, ids in sorted(by_why.items(), key=lambda entry: -len(entry[1]))
    ]
    more = [f"{len(parts) - most} other reasons"] if len(parts) > most else []
    return "; ".join(parts[:most] + more)


def remedy(counts: Mapping[str, int], config: DataConfig, noun: str = "pair") -> str:
    """What to change so that fewer records (each a `noun`) are dropped for the most frequent reason."""
    most = max(DROP_REASONS, key=lambda reason: counts.get(reason, 0))
    row = f" and data.row_length ({config.row_length})" if config.row_length else ""
    other = "split" if noun == "document" else "truncate"
    return _REMEDIES[most].format(max_length=config.max_length, row=row, noun=noun, other=other)


class Limit(NamedTuple):
    """When a stream gives up on a data set."""

    name: str
    """The data set's, in errors."""
    num_drops: int
    """Drops in a row without an item kept."""

    @staticmethod
    def of(part: Sequence[Any], num_streams: int) -> Limit:
        """That of a data set which is dealt into so many streams: _MAX_DROPS, or the stream's epoch if longer."""
        name = repr(part) if hasattr(part, "directory") else "the source"
        return Limit(name, max(-(-len(part) // num_streams), min(len(part), _MAX_DROPS)))

    def require_kept(self, dropped: Sequence[Dropped], config: DataConfig, noun: str) -> None:
        """Raises UserError where so many in a row are `dropped` that the data set seems to have no record (a `noun`) to
        keep."""
        if len(dropped) < self.num_drops:
            return
        counts = count_reasons(dropped)
        refused = [one for one in dropped if one.reason == "refused"]
        words = f" ({describe_refused(refused, noun)})" if refused else ""
        raise UserError(
            f"{self.name}: no {noun} was kept of {len(dropped)} in a row; {describe(counts, config)}{words}. "
            f"Remedy: {remedy(counts, config, noun)}."
        )
