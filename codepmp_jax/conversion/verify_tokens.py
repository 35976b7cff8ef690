"""Checks that a converted folder gives its users the tokens of training.

Users read the folder with AutoTokenizer: a text by `tokenizer(text)`, messages by `apply_chat_template`. Compared are
texts that are hard to encode, and pairs or documents of the run's own data where they are there.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from transformers import AutoTokenizer

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.chat_template import PROBES
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.text import forms
from codepmp_jax.text.forms import Refused, TextForm
from codepmp_jax.text.tokenization import Text, Tokenizer

# Records of the run's data that are compared, spread over it.
_NUM_RECORDS = 200
_TEXTS = (
    "x",
    " leading and  double  spaces \n\n\tand the end ",
    "Réponds en français, s'il te plaît. 日本語も。 \U0001f600 ﬁ e\u0301",
    "def add(a, b):\n    return a + b  # 1234567\r\n",
    "I'LL they'll <s> </s> [INST] <|im_end|> <unk> <mask>",
)


@dataclasses.dataclass
class Counts:
    """Rows that were compared, and of them those whose tokens differ."""

    num_rows: int = 0
    num_different: int = 0
    first: str = ""
    """What differs in the first of these."""

    def add(self, text: str, ours: list[int], theirs: list[int] | Exception) -> None:
        """Compares one row."""
        self.num_rows += 1
        if theirs == ours:
            return
        self.num_different += 1
        if self.first:
            return
        if isinstance(theirs, Exception):
            self.first = f"{text[:60]!r}: {theirs}"
            return
        both = itertools.zip_longest(ours, theirs)
        at = next(index for index, (one, other) in enumerate(both) if one != other)
        self.first = (
            f"{text[:60]!r}: from token {at} on {ours[at : at + 5]}, theirs {theirs[at : at + 5]}"
        )


@dataclasses.dataclass
class TokenCheck:
    """What was compared."""

    texts: Counts
    """By tokenizer(text)."""
    messages: Counts
    """By apply_chat_template."""

    def __str__(self) -> str:
        return f"tokens of {self.texts.num_rows} texts and {self.messages.num_rows} conversations equal training's"


def verify_tokens(
    folder: pathlib.Path, tokenizer: Tokenizer, config: TrainConfig, form: str
) -> TokenCheck:
    """Compares the tokens that AutoTokenizer gives of a folder with those of the run's `tokenizer`.

    `form` is `text` or `conversation`, what the folder's chat template writes, or `document`, of which it writes none.
    Raises UserError with the number of rows that differ, and the first of them.
    """
    theirs: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    written = TextForm(
        "conversation" if form == "conversation" else "text",
        config.data.template,
        config.data.append_eos,
        config.data.max_length,
    )
    texts, messages = Counts(), Counts()
    plain = [Text(text, 0) for text in _TEXTS]
    found = [
        record
        for folder in config.data.folders
        for record in forms.find_records(folder, _NUM_RECORDS, (PreferencePair, SourceFile))
    ]
    plain += [Text(record.content, 0) for record in found if isinstance(record, SourceFile)]
    pairs = [record for record in found if isinstance(record, PreferencePair)]
    for pair in pairs if form == "document" else [*_probes(), *pairs]:
        if form == "conversation" and tokenizer.chat_template is None:
            break
        try:
            rows = written.texts(pair, tokenizer)
        except Refused:
            # Neither is it trained on.
            continue
        encoded = tokenizer.encode(
            rows, append_eos=config.data.append_eos, eos_may_be_pad=not config.loss.trains_rewards
        )
        for row, tokens, conversation in zip(rows, encoded, _conversations(pair), strict=True):
            messages.add(row.text, tokens.tokens.tolist(), _of_messages(theirs, conversation))
        plain += [row for row in rows if row.add_special_tokens]
    for text, tokens in zip(plain, tokenizer.encode(plain), strict=True):
        texts.add(text.text, tokens.tokens.tolist(), list(theirs(text.text)["input_ids"]))
    for what, counts in (("tokenizer(text)", texts), ("apply_chat_template", messages)):
        if counts.num_different:
            raise UserError(
                f"{folder}: {what} of AutoTokenizer ({type(theirs).__name__}) gives other tokens than training in "
                f"{counts.num_different} of {counts.num_rows} rows; the first is {counts.first}. Remedy: convert "
                "without --verify, and encode texts with the run's tokenizer.json as `codepmp evaluate score` does."
            )
    return TokenCheck(texts, messages)


def _of_messages(theirs: Any, messages: list[Any]) -> list[int] | Exception:
    try:
        return list(
            theirs.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        )
    except Exception as error:  # templates raise anything
        return error


def _probes() -> Iterator[PreferencePair]:
    for prompt, response in PROBES:
        yield PreferencePair("probe", prompt, response, f"{response} ")


def _conversations(pair: PreferencePair) -> Iterator[list[Any]]:
    """The messages of chosen and of rejected."""
    for response in (pair.chosen, pair.rejected):
        if pair.is_conversation:
            yield json.loads(pair.prompt) + json.loads(response)
        else:
            yield [
                {"role": "user", "content": pair.prompt},
                {"role": "assistant", "content": response},
            ]


def form_of_folder(folder: pathlib.Path) -> str:
    """`text`, `conversation` or `document`: what conversion says of a folder that it wrote."""
    return json.loads((folder / forms.MADE_BY).read_text(encoding="utf-8"))["chat_template"]
