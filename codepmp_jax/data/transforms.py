"""From records to tokenized pairs: label windows and length policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.data.drops import Dropped, DropReason
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length, with_companions
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import NO_GAPS, EncodedText, Text, Tokenizer


def label_start(text: EncodedText, length: int, config: DataConfig) -> int:
    """Index of the first label of `text` cut to `length` tokens.

    The paper's window is as long as the response encoded on its own and ends with the text: where the
    text was cut it reaches into the prompt by as much, as in the authors' code.
    """
    if config.response_window == "paper":
        assert text.num_response_tokens is not None
        return min(max(1, length - text.num_response_tokens), length)
    return min(max(1, text.response_start), length)


def label_gaps(text: EncodedText, length: int, config: DataConfig) -> Int32[np.ndarray, "G 2"]:
    """Spans of tokens behind the first label of `text` cut to `length` that are no labels: what is not the
    assistant's, but for the paper's window, which has none."""
    if config.response_window == "paper":
        return NO_GAPS
    return np.minimum(text.gaps, length)


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
        if layout.num_tokens(pair) <= layout.row_tokens:
            return with_companions(pair, record, layout.companions)
    return "too_long"


def tokenize(
    records: Sequence[PreferencePair], tokenizer: Tokenizer, layout: Layout
) -> list[TokenizedPair | Dropped]:
    """The records' pairs, or why they are dropped, in their order.

    `refused`: the chat template or the tokenizer does not take the pair. Raises UserError naming the pair
    where the policy is to stop at such.
    """
    config = layout.config
    results: list[TokenizedPair | Dropped | None] = [None] * len(records)
    texts: dict[int, tuple[Text, Text]] = {}
    for i, record in enumerate(records):
        try:
            texts[i] = tokenizer.format_pair(record, config.template)
        except UserError as error:
            results[i] = _refused(record, error, config)
    for i, encoded in _encode(records, texts, tokenizer, config).items():
        if isinstance(encoded, Dropped):
            results[i] = encoded
            continue
        fitted = fit_pair(records[i], *encoded, layout)
        if isinstance(fitted, str):
            fitted = Dropped(fitted, records[i].pair_id)
        results[i] = fitted
    return [result for result in results if result is not None]


def _encode(
    records: Sequence[PreferencePair],
    texts: dict[int, tuple[Text, Text]],
    tokenizer: Tokenizer,
    config: DataConfig,
) -> dict[int, tuple[EncodedText, EncodedText] | Dropped]:
    """The texts as tokens, by their records' numbers."""

    def encode(some: Sequence[Text]) -> list[EncodedText]:
        is_paper = config.response_window == "paper"
        return tokenizer.encode(some, append_eos=config.append_eos, response_alone=is_paper)

    try:
        flat = encode([text for both in texts.values() for text in both])
        return dict(zip(texts, zip(flat[::2], flat[1::2], strict=True), strict=True))
    except Exception:  # the library raises nothing narrower, and does not say for which text
        found: dict[int, tuple[EncodedText, EncodedText] | Dropped] = {}
        for i, both in texts.items():
            try:
                chosen, rejected = encode(both)
                found[i] = chosen, rejected
            except Exception as error:
                found[i] = _refused(records[i], _explained(error, both), config)
        return found


def _explained(error: Exception, texts: Sequence[Text]) -> Exception:
    """In plain words, where the tokenizer's own are of its types."""
    try:
        for text in texts:
            text.text.encode()
    except UnicodeEncodeError as invalid:
        return ValueError(f"is no valid Unicode ({invalid})")
    return error


def _refused(record: PreferencePair, error: Exception, config: DataConfig) -> Dropped:
    why = str(error).removeprefix(f"pair {record.pair_id}: ") or type(error).__name__
    if config.refused_policy == "stop":
        raise UserError(
            f"pair {record.pair_id}: {why}. Remedy: leave the pair out, give a tokenizer whose chat template "
            "takes it, or set data.refused_policy to drop."
        ) from error
    return Dropped("refused", record.pair_id, why)
