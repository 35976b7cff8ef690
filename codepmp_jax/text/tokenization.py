"""Text to tokens: tokenizers, the text of a row, and where in it the response begins.

A tokenizer is a folder with `tokenizer.json` and `tokenizer_config.json`, as Hugging Face writes it.
Special tokens and the chat template come from `tokenizer_config.json`, `special_tokens_map.json` and
`chat_template.jinja`, the first that has them.

The contract on padding: `pad_id` is the folder's pad token, or its EOS where it names none. Masks come
from lengths, never from ids, so a pad token that also ends texts does no harm in training; but other
programs find a row's end by looking for the pad token, so `append_eos` is refused where pad is EOS, except in
documents, which have no reward to read at their end.

The contract on EOS: `append_eos` ends a row in one EOS. A row that has it already as its last token but for
white space, from its text, its chat template or the tokenizer itself, gets no second one.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jinja2
import numpy as np
import tokenizers
from jaxtyping import Int32

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text import conversations, tokenizer_files

Span = conversations.Span
Remark = Literal["merged", "turns_unknown"]
REMARKS: tuple[Remark, ...] = get_args(Remark)
"""What there is to say of a kept row. `merged`: a token holds characters of the prompt and of the response
(see Tokenizer.encode). `turns_unknown`: where in a conversation the assistant's turns are could not be found, so that
all of the response is labels (text/conversations.py)."""


NO_GAPS = np.zeros((0, 2), np.int32)


@dataclasses.dataclass(frozen=True)
class Text:
    """One row as text."""

    text: str
    response_start: int
    """Index of the character at which the response begins."""
    add_special_tokens: bool = True
    """False where a chat template has already written them."""
    gaps: tuple[Span, ...] = ()
    """Characters of the response that are no turn of the assistant's, ascending."""
    are_turns_known: bool = True
    """False where `gaps` could not be found."""


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedText:
    """One row as tokens, of its full length."""

    tokens: Int32[np.ndarray, " L"]
    response_start: int
    """Index of the first token of the response; L where it has none."""
    num_response_tokens: int | None = None
    """Tokens of the response encoded on its own, EOS included; None unless asked for."""
    gaps: Int32[np.ndarray, "G 2"] = dataclasses.field(default_factory=lambda: NO_GAPS)
    """Spans (first, stop) of tokens of the response that are no turn of the assistant's, or only in part."""
    remarks: frozenset[Remark] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer with its special tokens and chat template. Picklable."""

    name: str
    """What it was loaded as."""
    pad_id: int
    eos_id: int | None
    vocab_size: int
    """One more than the largest id: the least vocabulary that a model needs."""
    chat_template: str | None
    special_tokens: dict[str, str]
    """By role, e.g. `eos_token`: variables of the chat template."""
    settings: dict[str, Any] = dataclasses.field(repr=False)
    """The folder's tokenizer_config.json."""
    definition: str = dataclasses.field(repr=False)
    """The folder's tokenizer.json."""
    backend: tokenizers.Tokenizer = dataclasses.field(repr=False)

    @classmethod
    def load(cls, name: str) -> Tokenizer:
        """The tokenizer `embedded` in this package, in a folder, or of that name on the Hugging Face hub.

        Raises UserError where there is none, or one without pad and EOS tokens.
        """
        folder = tokenizer_files.find(name)
        definition = tokenizer_files.read(folder / "tokenizer.json")
        assert definition is not None
        try:
            backend = tokenizers.Tokenizer.from_str(tokenizer_files.with_full_offsets(definition))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(
                f"{folder / 'tokenizer.json'}: not a tokenizer ({error}). Remedy: copy it again."
            ) from error
        backend.no_truncation()
        backend.no_padding()
        settings = tokenizer_files.read_json(folder / "tokenizer_config.json")
        special_tokens = {
            role: token["content"] if isinstance(token, dict) else token
            for role, token in (
                tokenizer_files.read_json(folder / "special_tokens_map.json") | settings
            ).items()
            if role.endswith("_token") and isinstance(token, str | dict)
        }
        ids = {role: backend.token_to_id(token) for role, token in special_tokens.items()}
        eos_id = ids.get("eos_token")
        pad_id = eos_id if ids.get("pad_token") is None else ids["pad_token"]
        if pad_id is None:
            raise UserError(
                f"{folder}: names no pad_token and no eos_token of its vocabulary. Remedy: set "
                "pad_token in tokenizer_config.json."
            )
        chat_template = tokenizer_files.read(
            folder / "chat_template.jinja"
        ) or tokenizer_files.default_template(settings.get("chat_template"))
        try:
            conversations.compiled(chat_template or "")
        except jinja2.TemplateError as error:
            raise UserError(
                f"{folder}: its chat template is no Jinja template: {error}."
            ) from error
        return cls(
            name=name,
            pad_id=pad_id,
            eos_id=eos_id,
            vocab_size=1 + max(backend.get_vocab(with_added_tokens=True).values()),
            chat_template=chat_template,
            special_tokens=special_tokens,
            settings=settings,
            definition=definition,
            backend=backend,
        )

    def require_eos(self, may_be_pad: bool = False) -> int:
        """The EOS that `append_eos` appends. Raises UserError where there is none, or pad is EOS and may not be."""
        if self.eos_id is None:
            raise UserError(
                f"data.append_eos = True: the tokenizer {self.name} has no eos_token. Remedy: set it in "
                "tokenizer_config.json, or set data.append_eos to False."
            )
        if self.eos_id == self.pad_id and not may_be_pad:
            raise UserError(
                f"data.append_eos = True: pad and EOS of the tokenizer {self.name} are the same token "
                f"({self.backend.id_to_token(self.eos_id)}), so a row's end could not be told from its "
                "padding. Remedy: set another pad_token in tokenizer_config.json, or set "
                "data.append_eos to False."
            )
        return self.eos_id

    def parts(self) -> dict[str, str]:
        """What gives a text its tokens, each part as a sha256: entries of tokenizer.json, special tokens, template.

        Two tokenizers with the same parts are the same, wherever and in whatever layout their files are.
        """
        parts = json.loads(self.definition)
        # Ignored here; transformers writes what it used last.
        for entry in ("version", "truncation", "padding"):
            parts.pop(entry, None)
        merges = parts.get("model", {}).get("merges")
        if merges:
            parts["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
        pad_token = {"pad_token": self.backend.id_to_token(self.pad_id)}
        parts |= {
            "vocabulary": parts.pop("model", None),
            "special tokens": self.special_tokens | pad_token,
            "chat template": self.chat_template,
        }
        return {
            name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
            for name, part in parts.items()
            if part is not None
        }

    def format(self, prompt: str, response: str, template: str) -> Text:
        """The row of a prompt and a response. `template` holds {prompt} once and ends in {response}."""
        head, tail = template.removesuffix("{response}").split("{prompt}")
        start = f"{head}{prompt}{tail}"
        return Text(start + response, len(start))

    def format_pair(self, pair: PreferencePair, template: str) -> tuple[Text, Text]:
        """The rows of a pair, chosen and rejected; a conversation goes through the chat template.

        Raises UserError naming the pair where the chat template is missing or refuses it.
        """
        if not pair.is_conversation:
            return (
                self.format(pair.prompt, pair.chosen, template),
                self.format(pair.prompt, pair.rejected, template),
            )
        try:
            prompt, *responses = map(json.loads, (pair.prompt, pair.chosen, pair.rejected))
            try:
                opening = self.render(prompt, add_generation_prompt=True)
            except Exception:  # as below, unless the whole conversation is refused too
                opening = None
            has_opening = "add_generation_prompt" in (self.chat_template or "")
            rows = [
                conversations.write(self.render, prompt, response, opening, has_opening)
                for response in responses
            ]
        except Exception as error:  # templates raise anything
            raise UserError(f"pair {pair.pair_id}: {error}") from error
        chosen, rejected = (
            Text(row.text, row.response_start, False, row.gaps, row.are_turns_known) for row in rows
        )
        return chosen, rejected

    @property
    def writes_date(self) -> bool:
        """Whether the chat template writes the date of the day on which it is used."""
        return conversations.writes_date(self.chat_template)

    def dated(self, day: datetime.date) -> Tokenizer:
        """The tokenizer whose chat template writes `day` as today's date; the same one where it writes none."""
        if self.chat_template is None:
            return self
        return dataclasses.replace(self, chat_template=conversations.dated(self.chat_template, day))

    def render(self, messages: list[dict[str, str]], add_generation_prompt: bool = False) -> str:
        """The chat template's text. Raises ValueError where there is no template."""
        if self.chat_template is None:
            raise ValueError(
                f"it is a conversation, but the tokenizer {self.name} has no chat template. Remedy: put "
                "a chat_template.jinja into the tokenizer's folder, or import the pairs as strings."
            )
        return conversations.compiled(self.chat_template).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens,
        )

    def encode(
        self,
        texts: Sequence[Text],
        append_eos: bool = False,
        response_alone: bool = False,
        eos_may_be_pad: bool = False,
    ) -> list[EncodedText]:
        """The rows as tokens, nothing truncated.

        A token counts as the response's where all its characters do: one that straddles the boundary is the
        prompt's. In a conversation it is the response's where it has only white space of the prompt, so that an
        answer keeps its first word after a generation prompt that ends in a space. Likewise a gap has each token
        with a character of it. `append_eos` ends each row in one EOS, which is the response's, and must not
        be the pad token unless `eos_may_be_pad`. `response_alone` also counts the tokens of each response encoded on
        its own.
        """
        eos_id = self.require_eos(eos_may_be_pad) if append_eos else None
        encodings: list[Any] = [None] * len(texts)
        for special in (True, False):
            places = [i for i, text in enumerate(texts) if text.add_special_tokens is special]
            if places:
                batch = self.backend.encode_batch(
                    [texts[i].text for i in places], add_special_tokens=special
                )
                for i, encoding in zip(places, batch, strict=True):
                    encodings[i] = encoding
        counts: list[int | None] = [None] * len(texts)
        if response_alone:
            responses = [text.text[text.response_start :] for text in texts]
            alone = self.backend.encode_batch(responses, add_special_tokens=False)
            counts = [len(encoding) for encoding in alone]
        rows = []
        for text, encoding, count in zip(texts, encodings, counts, strict=True):
            tokens = encoding.ids
            start = _start_token(encoding, text, text.response_start)
            if eos_id is not None and not _ends_in(encoding, text.text, eos_id):
                tokens = [*tokens, eos_id]
                count = None if count is None else count + 1
            gaps = [
                (
                    _token_with(encoding, first),
                    len(tokens) if stop == len(text.text) else _start_token(encoding, text, stop),
                )
                for first, stop in text.gaps
            ]
            starts = [text.response_start, *(stop for _, stop in text.gaps)]
            remarks: set[Remark] = set()
            if any(
                _token_with(encoding, char) < _first_token(encoding, char)
                for char in starts
                if char < len(text.text)
            ):
                remarks.add("merged")
            if not text.are_turns_known:
                remarks.add("turns_unknown")
            rows.append(
                EncodedText(
                    np.array(tokens, np.int32),
                    start,
                    count,
                    np.array(gaps, np.int32).reshape(-1, 2),
                    frozenset(remarks),
                )
            )
        return rows

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which AutoTokenizer opens."""
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | self.settings
        settings |= self.special_tokens | {"pad_token": self.backend.id_to_token(self.pad_id)}
        if self.chat_template is not None:
            settings["chat_template"] = self.chat_template
        folder = storage.to_path(folder)
        storage.write_text(folder / "tokenizer.json", self.definition)
        storage.write_text(
            folder / "tokenizer_config.json",
            json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
        )


# --- the response's first token -------------------------------------------------------------------


def _first_token(encoding: Any, start: int) -> int:
    """Index of the first token from which on no token covers a character before `start`."""
    token = encoding.char_to_token(start)
    if token is None:
        # No token has this character: the response is empty, or the normalizer took the character.
        specials = encoding.special_tokens_mask
        spans = zip(encoding.offsets, specials, strict=True)
        before = [
            i for i, ((first, _), special) in enumerate(spans) if not special and first < start
        ]
        if before:
            return before[-1] + 1
        return next((i for i, special in enumerate(specials) if not special), len(specials))
    while token < len(encoding):
        span = encoding.token_to_chars(token)
        if span is None or span[0] >= start:
            break
        token += 1
    return token


def _token_with(encoding: Any, char: int) -> int:
    """Index of the first token that covers the character `char`, or else of the first one behind it."""
    token = encoding.char_to_token(char)
    return _first_token(encoding, char) if token is None else token


def _start_token(encoding: Any, text: Text, char: int) -> int:
    """Index of the first token of a response or turn that begins at the character `char`."""
    token, first = _token_with(encoding, char), _first_token(encoding, char)
    if not text.add_special_tokens and token < first:  # of a chat template
        before, _ = encoding.token_to_chars(token)
        if text.text[before:char].isspace():
            return token
    return first


def _ends_in(encoding: Any, text: str, eos_id: int) -> bool:
    """Whether the last token but for white space is EOS."""
    for token, (first, stop) in zip(
        reversed(encoding.ids), reversed(encoding.offsets), strict=True
    ):
        if token == eos_id:
            return True
        if not text[first:stop].isspace():
            return False
    return False
