"""From records to the items that rows are packed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.item_kind import Part
from codepmp_jax.data.layouts import Layout
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer


def tokenize(records: Sequence[Any], tokenizer: Tokenizer, layout: Layout) -> list[list[Part]]:
    """What each record gives: the items of layout.kind, or why they are dropped.

    `refused`: the chat template or the tokenizer does not take the record. Raises UserError naming the record
    where the policy is to stop at such.
    """
    results: dict[int, list[Part]] = {}
    texts: dict[int, Sequence[Text]] = {}
    for i, record in enumerate(records):
        try:
            texts[i] = layout.kind.write(record, tokenizer, layout.config)
        except UserError as error:
            results[i] = [_refused(record, error, layout)]
    for i, encoded in _encode(records, texts, tokenizer, layout).items():
        if isinstance(encoded, Dropped):
            results[i] = [encoded]
        else:
            results[i] = layout.kind.fit(records[i], encoded, layout)
    return [results[i] for i in range(len(records))]


def _encode(
    records: Sequence[Any],
    texts: dict[int, Sequence[Text]],
    tokenizer: Tokenizer,
    layout: Layout,
) -> dict[int, Sequence[EncodedText] | Dropped]:
    """The texts as tokens, by their records' numbers."""
    config = layout.config

    def encode(some: Sequence[Text]) -> list[EncodedText]:
        return tokenizer.encode(
            some,
            append_eos=config.append_eos,
            response_alone=config.response_window == "paper",
            eos_may_be_pad=layout.kind.eos_may_be_pad,
        )

    try:
        flat = iter(encode([text for some in texts.values() for text in some]))
        return {i: [next(flat) for _ in some] for i, some in texts.items()}
    except Exception:  # the library raises nothing narrower, and does not say for which text
        found: dict[int, Sequence[EncodedText] | Dropped] = {}
        for i, some in texts.items():
            try:
                found[i] = encode(some)
            except Exception as error:
                found[i] = _refused(records[i], _explained(error, some), layout)
        return found


def _explained(error: Exception, texts: Sequence[Text]) -> Exception:
    """In plain words, where the tokenizer's own are of its types."""
    try:
        for text in texts:
            text.text.encode()
    except UnicodeEncodeError as invalid:
        return ValueError(f"is no valid Unicode ({invalid})")
    return error


def _refused(record: Any, error: Exception, layout: Layout) -> Dropped:
    noun, name = layout.kind.noun, layout.kind.record_id(record)
    why = str(error).removeprefix(f"pair {name}: ") or type(error).__name__
    if layout.config.refused_policy == "stop":
        raise UserError(
            f"{noun} {name}: {why}. Remedy: leave the {noun} out, give a tokenizer whose chat template "
            "takes it, or set data.refused_policy to drop."
        ) from error
    return Dropped("refused", name, why)
