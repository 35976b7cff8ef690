"""Texts of a request -> rows of tokens, as `evaluate score` makes them.

    a prompt and a response     in the form that the model was trained on (codepmp_jax.text.forms)
    a query                     the text as the model reads it, as OpenRLHF sends it: with the template applied, and with
                                the special tokens that a policy's sampling left around it
    tokens                      as they are

Rows are cut to the model's length.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from codepmp_jax.evaluation.scorers.scoring import why_no_reward
from codepmp_jax.text.forms import Refused, TextForm
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer

Message = dict[str, Any]
Turns = str | list[Message]
"""A text, or messages of a conversation."""


class Rows(NamedTuple):
    """The rows of a request's texts."""

    rows: list[np.ndarray]
    """[L] int32 each; texts may be equal."""
    is_cut: list[bool]
    """Whether a text was longer."""


@dataclasses.dataclass(frozen=True)
class TextReader:
    """Makes the rows of one model. Picklable."""

    tokenizer: Tokenizer
    form: TextForm
    vocab_size: int
    """Tokens that the model has embeddings for."""

    def answers(self, prompts: Sequence[Turns], responses: Sequence[Turns]) -> Rows:
        """The rows of prompts and their responses.

        Raises Refused, naming the text by its index, where one cannot be written in the model's form, has no tokens, or
        has one without an embedding.
        """
        if len(prompts) != len(responses):
            raise Refused(f"there are {len(prompts)} prompts and {len(responses)} responses")
        texts = []
        for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            try:
                texts.append(self.form.text(prompt, response, self.tokenizer))
            except Refused as error:
                raise Refused(f"text {index}: {error}") from error
        return self._encode(texts)

    def split(self, queries: Sequence[str], prompts: Sequence[str]) -> Rows:
        """The rows of queries that begin with their prompts; the rest is the response. Raises Refused."""
        if len(prompts) != len(queries):
            raise Refused(f"there are {len(queries)} queries and {len(prompts)} prompts")
        responses = []
        for index, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
            query = self._unpadded(query)
            if not query.startswith(prompt):
                raise Refused(f"text {index}: the query does not begin with its prompt")
            responses.append(_without_ends(query[len(prompt) :], self._special_tokens))
        return self.answers(prompts, responses)

    def whole(self, queries: Sequence[str]) -> Rows:
        """The rows of texts as the model reads them. Raises Refused.

        A row is the one of the same prompt and response, wherever sampling stopped. No special token is left at the end
        of a text that `template` wrote: it ends in the response, and a policy's EOS may be another than the model's. Of a
        conversation the end of the turn is there once, whether it is EOS, as Qwen's, or not, as Gemma's.
        """
        if self.form.form != "conversation":
            bos, ends = self._bos, self._special_tokens
            texts = [
                _without_ends(self._unpadded(query).removeprefix(bos), ends) for query in queries
            ]
            return self._encode([Text(text, len(text)) for text in texts])
        texts = [self._without_turn_end(query) + self._turn_end for query in queries]
        return self._encode([Text(text, len(text), add_special_tokens=False) for text in texts])

    def tokens(self, texts: Sequence[Sequence[int]]) -> Rows:
        """The rows of texts given as tokens. Raises Refused."""
        for index, text in enumerate(texts):
            if any(token < 0 for token in text):
                raise Refused(f"text {index}: tokens must not be negative")
            # Ids that are no int32 would not be found by the check of the embeddings.
            if any(token >= self.vocab_size for token in text):
                raise Refused(f"text {index}: the model has {self.vocab_size} tokens")
        return self._rows(
            [EncodedText(np.array(text, np.int32), len(text)) for text in texts],
        )

    @functools.cached_property
    def _bos(self) -> str:
        """The token that the tokenizer itself writes before a text; empty where it writes none."""
        bos = self.tokenizer.special_tokens.get("bos_token", "")
        written = self.tokenizer.backend.encode("").ids
        return bos if self.tokenizer.backend.token_to_id(bos) in written[:1] else ""

    @functools.cached_property
    def _turn_end(self) -> str:
        """What the chat template writes after an answer."""
        mark = "\N{OBJECT REPLACEMENT CHARACTER}"
        messages = [{"role": "user", "content": "."}, {"role": "assistant", "content": mark}]
        return self.tokenizer.render(messages).rpartition(mark)[2]

    @functools.cached_property
    def _padding(self) -> tuple[str, ...]:
        """The pad token and EOS, as far as there are some."""
        backend = self.tokenizer.backend
        ids = (self.tokenizer.pad_id, self.tokenizer.eos_id)
        return tuple(filter(None, (backend.id_to_token(id_) for id_ in ids if id_ is not None)))

    @functools.cached_property
    def _special_tokens(self) -> tuple[str, ...]:
        """All special tokens; among them, where there are some, the pad token and EOS."""
        added = self.tokenizer.backend.get_added_tokens_decoder().values()
        return (*self._padding, *(token.content for token in added if token.special))

    def _unpadded(self, text: str) -> str:
        """The text without pad tokens before it."""
        pad = self.tokenizer.backend.id_to_token(self.tokenizer.pad_id) or ""
        while pad and text.startswith(pad):
            text = text[len(pad) :]
        return text

    def _without_turn_end(self, text: str) -> str:
        """The text without padding and without the end of its last turn, whole or as far as sampling wrote it."""
        text = _without_ends(self._unpadded(text), self._padding)
        # Sampling stops at a token: what the template writes behind it, a line's end, is not there.
        sampled = self._turn_end.rstrip()
        if text.endswith(self._turn_end):
            text = text.removesuffix(self._turn_end)
        elif sampled.endswith(self._special_tokens):
            text = text.removesuffix(sampled)
        return _without_ends(text, self._padding)

    def _encode(self, texts: Sequence[Text]) -> Rows:
        try:
            return self._rows(self.tokenizer.encode(texts, append_eos=self.form.append_eos))
        except TypeError as error:  # the tokenizer's, of half a surrogate pair
            raise Refused("a text is no Unicode: half of a surrogate pair") from error

    def _rows(self, encoded: Sequence[EncodedText]) -> Rows:
        reason = why_no_reward(encoded, self.tokenizer, self.vocab_size)
        if reason is not None:
            raise Refused(reason)
        longest = self.form.max_length
        return Rows(
            [text.tokens[:longest] for text in encoded],
            [len(text.tokens) > longest for text in encoded],
        )


def _without_ends(text: str, ends: Sequence[str]) -> str:
    """The text without any of `ends` after it."""
    while end := next(filter(text.endswith, ends), ""):
        text = text.removesuffix(end)
    return text


def distinct(rows: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """(the distinct rows, for each row the index of its own among them), as `Scorer.rewards` needs them."""
    places: dict[bytes, int] = {}
    own = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    return [np.frombuffer(row, np.int32) for row in places], own
