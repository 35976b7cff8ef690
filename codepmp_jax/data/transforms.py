"""From records to tokenized pairs: label windows and length policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from codepmp_jax.config import DataConfig
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length, with_companions
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import EncodedText, Tokenizer

DropReason = Literal["too_long", "identical", "empty"]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)


def label_start(text: EncodedText, length: int, config: DataConfig) -> int:
    """Index of the first label of `text` cut to `length` tokens.

    The paper's window is as long as the response encoded on its own and ends with the text: where the
    text was cut it reaches into the prompt by as much, as in the authors' code.
    """
    if config.response_window == "paper":
        assert text.num_response_tokens is not None
        return min(max(1, length - text.num_response_tokens), length)
    return min(max(1, text.response_start), length)


def fit_pair(
    record: PreferencePair, chosen: EncodedText, rejected: EncodedText, layout: Layout
) -> TokenizedPair | DropReason:
    """The pair, cut where the policy is to cut, or why it is dropped.

    `too_long`: a text is over max_length, or the pair does not fit a row, and the policy is `drop`.
    `truncate` cuts texts to max_length, and if the pair then does not fit a row to half a row.
    `identical`: the two texts are the same tokens, after the cut where there is one; their pair loss is
    ln 2 whatever the model, without gradient. `empty`: a text without a token has no reward.
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
        )
        if pair.common == max(len(first), len(second)):
            return "identical"
        if layout.num_tokens(pair) <= layout.row_tokens:
            return with_companions(pair, record, layout.companions)
    return "too_long"


def tokenize(
    records: Sequence[PreferencePair], tokenizer: Tokenizer, layout: Layout
) -> list[TokenizedPair | DropReason]:
    """The records' pairs, or why they are dropped, in their order.

    Raises UserError naming the pair where a conversation cannot be rendered.
    """
    config = layout.config
    texts = [text for record in records for text in tokenizer.format_pair(record, config.template)]
    try:
        encoded = tokenizer.encode(
            texts,
            append_eos=config.append_eos,
            response_alone=config.response_window == "paper",
        )
    except Exception as error:
        raise RuntimeError(
            f"cannot tokenize one of the pairs {records[0].pair_id} ... {records[-1].pair_id}: {error}"
        ) from error
    return [
        fit_pair(record, chosen, rejected, layout)
        for record, chosen, rejected in zip(records, encoded[::2], encoded[1::2], strict=True)
    ]
