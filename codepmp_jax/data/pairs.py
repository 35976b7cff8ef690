"""Preference pairs as what rows are packed from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codepmp_jax.config import DataConfig
from codepmp_jax.data.drops import Dropped, DropReason
from codepmp_jax.data.item_kind import ItemKind, Part
from codepmp_jax.data.label_window import label_gaps, label_start
from codepmp_jax.data.tokenized_item import SIDES, with_companions
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer

if TYPE_CHECKING:
    from codepmp_jax.data.layouts import Layout


@dataclasses.dataclass(frozen=True)
class Pairs(ItemKind):
    """An item a record: chosen and rejected, whose responses are labels."""

    unit = "pairs"
    noun = "pair"
    num_texts = 2
    record_types = (PreferencePair,)

    def record_id(self, record: PreferencePair) -> str:
        """As in ItemKind."""
        return record.pair_id

    def may_be_refused(self, record: PreferencePair) -> bool:
        """As in ItemKind."""
        return record.is_conversation

    def write(
        self, record: PreferencePair, tokenizer: Tokenizer, config: DataConfig
    ) -> Sequence[Text]:
        """Chosen and rejected."""
        return tokenizer.format_pair(record, config.template)

    def fit(
        self, record: PreferencePair, texts: Sequence[EncodedText], layout: Layout
    ) -> list[Part]:
        """The pair (see fit_pair)."""
        chosen, rejected = texts
        fitted = fit_pair(record, chosen, rejected, layout)
        return [Dropped(fitted, record.pair_id) if isinstance(fitted, str) else fitted]

    def count(self, num_items: int, num_records: int) -> str:
        """As in ItemKind; items and records are the same."""
        return f"{num_items} of {num_records} pairs"


@dataclasses.dataclass(frozen=True)
class PolicyPairs(Pairs):
    """Pairs that a policy is trained on, which has no reward to read at a row's end."""

    eos_may_be_pad = True


PAIRS = Pairs()
POLICY_PAIRS = PolicyPairs()


def fit_pair(
    record: PreferencePair, chosen: EncodedText, rejected: EncodedText, layout: Layout
) -> TokenizedPair | DropReason:
    """The pair, cut where the policy is to cut, or why it is dropped (drops.DROP_REASONS).

    `truncate` cuts texts to max_length, and if the pair then does not fit a row to half a row.
    """
    config = layout.config
    longest = max(len(chosen.tokens), len(rejected.tokens))
    if min(len(chosen.tokens), len(rejected.tokens)) == 0:
        return "empty"
    for limit in (config.max_length, layout.row_tokens // 2):
        if longest > limit and config.length_policy == "drop":
            return "too_long"
        first, second = chosen.tokens[:limit], rejected.tokens[:limit]
        pair = TokenizedPair(
            pair_id=record.pair_id,
            margin=record.margin,
            chosen=first,
            rejected=second,
            label_starts=(
                label_start(chosen, len(first), config),
                label_start(rejected, len(second), config),
            ),
            common=common_length(first, second),
            gaps=(
                label_gaps(chosen, len(first), config),
                label_gaps(rejected, len(second), config),
            ),
            remarks=chosen.remarks | rejected.remarks,
        )
        is_identical = pair.common == max(len(first), len(second))
        if is_identical and config.identical_policy == "drop":
            return "identical"
        # A loss of both responses is of no use where one has no token (left by the cut).
        if layout.label_sides == SIDES and not all(len(own) for _, _, own in pair.labelled(SIDES)):
            return "empty"
        if layout.num_tokens(pair) <= layout.row_tokens:
            return with_companions(pair, record, layout.companions)
    return "too_long"
