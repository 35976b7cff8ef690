"""The form of a model's texts: how training wrote them, and how every scorer writes them.

A model is trained on strings, written by `data.template`, on conversations, written by the tokenizer's chat
template, or on documents, which are written as they are and give no rewards. The form belongs to the model, not to what is scored: training records it in WORKDIR/texts.json, conversion in
the folder's codepmp_jax.json. An item of the other form is rewritten:

    string pairs and problems, for a model of conversations    a user's message and the assistant's answer
    conversations, for a model of strings                      rows of data.template, an empty line between two rounds,
                                                               a system message before the first instruction

What cannot be rewritten, or the chat template refuses, raises Refused.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, Literal

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import DataConfig, TextsConfig, presets
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import PreferencePair, Problem, Record
from codepmp_jax.records.shards import MANIFEST, ShardedDataset, find_record_type
from codepmp_jax.text.tokenization import Text, Tokenizer

logger = logging.getLogger("codepmp_jax")

FILE = "texts.json"
# What conversion says of a folder that it wrote.
MADE_BY = "codepmp_jax.json"
# Pairs that are read to see what a run is trained on.
_SAMPLED_PAIRS = 64

_NO_PROMPT = "the model was trained on documents, which have no prompt: give --texts.form text or conversation"
_HALF_PAIR = re.compile("[\ud800-\udfff]")

Form = Literal["text", "conversation", "both", "document"]


class Refused(ValueError):
    """An item that cannot be written in the model's form; the message says why."""


@dataclasses.dataclass(frozen=True)
class TextForm:
    """How the texts of a model are written."""

    form: Form
    """`text`: rows of `template`. `conversation`: the tokenizer's chat template. `both`: each pair as it is; a problem,
    which may be written either way, is refused. `document`: texts as they are, without a prompt; pairs and problems are
    refused."""
    template: str = DataConfig.template
    """Row of a prompt and a response, as data.template."""
    append_eos: bool = False
    """Whether EOS ends a text."""
    max_length: int = DataConfig.max_length
    """Most tokens of a text; what is longer is cut on the right."""

    def __str__(self) -> str:
        written = {
            "text": f"by the template {self.template!r}",
            "conversation": "by the chat template",
            "document": "as they are",
            "both": f"strings by the template {self.template!r}, conversations by the chat template",
        }[self.form]
        end = ", then EOS" if self.append_eos else ""
        return f"{written}{end}, of at most {self.max_length} tokens"

    def require_template(self, tokenizer: Tokenizer) -> None:
        """Raises UserError where the form is by a chat template that the tokenizer lacks."""
        if self.form == "conversation" and tokenizer.chat_template is None:
            raise UserError(
                f"texts.form = 'conversation': the tokenizer {tokenizer.name} has no chat template. Remedy: "
                "put a chat_template.jinja into its folder, or give --texts.form text and --texts.template."
            )

    def rewrites(self, item: PreferencePair | Problem) -> bool:
        """Whether the item is a pair of the other form."""
        if isinstance(item, Problem) or self.form == "both":
            return False
        return item.is_conversation != (self.form == "conversation")

    def texts(self, item: PreferencePair | Problem, tokenizer: Tokenizer) -> list[Text]:
        """Chosen and rejected of a pair, or every candidate of a problem. Raises Refused."""
        try:
            rounds = _rounds(item, self)
        except ValueError as error:
            raise Refused(str(error)) from error
        return [self.text(prompt, response, tokenizer) for prompt, response in rounds]

    def text(
        self, prompt: list[Any] | str, response: list[Any] | str, tokenizer: Tokenizer
    ) -> Text:
        """The text of a prompt and a response: strings, or lists of messages. Raises Refused."""
        try:
            return self._text(prompt, response, tokenizer)
        except Exception as error:  # templates raise anything
            raise Refused(" ".join(str(error).split()) or type(error).__name__) from error

    def _text(
        self, prompt: list[Any] | str, response: list[Any] | str, tokenizer: Tokenizer
    ) -> Text:
        if self.form == "document":
            raise ValueError(_NO_PROMPT)
        is_conversation = self.form == "conversation" or (
            self.form == "both" and not isinstance(prompt, str)
        )
        if is_conversation:
            text = tokenizer.render(_messages(prompt, "user") + _messages(response, "assistant"))
            return Text(text, len(text), add_special_tokens=False)
        if isinstance(prompt, str) and isinstance(response, str):
            return tokenizer.format(prompt, response, self.template)
        messages = _messages(prompt, "user") + _messages(response, "assistant")
        return as_rows(messages, self.template)


def _rounds(item: PreferencePair | Problem, form: TextForm) -> list[tuple[Any, Any]]:
    """(prompt, response) of each text: strings, or lists of messages.

    Half a surrogate pair in a problem, which tokenizers refuse, becomes U+FFFD.
    """
    if isinstance(item, Problem):
        if form.form == "both":
            raise ValueError(
                "the model was trained on strings and on conversations, and a problem may be written either "
                "way: give --texts.form text or conversation"
            )
        prompt = _HALF_PAIR.sub("\ufffd", item.prompt)
        responses = (_HALF_PAIR.sub("\ufffd", candidate.response) for candidate in item.candidates)
        return [(prompt, response) for response in responses]
    if not item.is_conversation:
        return [(item.prompt, item.chosen), (item.prompt, item.rejected)]
    prompt, chosen, rejected = map(json.loads, (item.prompt, item.chosen, item.rejected))
    return [(prompt, chosen), (prompt, rejected)]


def _messages(value: list[Any] | str, role: str) -> list[Any]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def as_rows(messages: Sequence[dict[str, Any]], template: str) -> Text:
    """A conversation as rows of `template`, as the chat template that conversion makes of it writes it.

    Raises ValueError where messages are not of user and assistant in turn, the last one of the assistant, after at
    most one of system.
    """
    head, tail = template.removesuffix("{response}").split("{prompt}")
    system, rounds = "", list(messages)
    if not all(isinstance(message["content"], str) for message in rounds):
        raise ValueError("The content of a message must be a string.")
    if rounds and rounds[0]["role"] == "system":
        system = f"{rounds.pop(0)['content']}\n\n"
    roles = [message["role"] for message in rounds]
    if not rounds or len(rounds) % 2 or roles != ["user", "assistant"] * (len(rounds) // 2):
        raise ValueError(
            "Messages must be of user and assistant in turn, after at most one of system."
        )
    rows = [
        (
            f"{head}{system if not number else ''}{rounds[number]['content']}{tail}",
            rounds[number + 1],
        )
        for number in range(0, len(rounds), 2)
    ]
    before = "".join(f"{row}{answer['content']}\n\n" for row, answer in rows[:-1])
    start = before + rows[-1][0]
    return Text(start + rows[-1][1]["content"], len(start))


# --- what a model was trained on ------------------------------------------------------------------


def of_data(data: DataConfig, form: Form) -> TextForm:
    """The form of a run with these settings, of pairs of this kind."""
    return TextForm(form, data.template, data.append_eos, data.max_length)


def of_records(*datasets: ShardedDataset) -> Form:
    """What the pairs of data sets are, by a sample of each; `document` where none are of pairs."""
    of_pairs = [records for records in datasets if records.record_type is PreferencePair]
    if not of_pairs:
        return "document"
    sampled = (pair for records in of_pairs for pair in _spread(records, _SAMPLED_PAIRS))
    return _form({pair.is_conversation for pair in sampled})


def _form(kinds: set[bool]) -> Form:
    """By whether pairs are conversations."""
    return "both" if len(kinds) > 1 else "conversation" if kinds == {True} else "text"


def _spread(records: ShardedDataset, number: int) -> list[Any]:
    """About `number` records spread over a data set; in a bucket over its first shard."""
    size = len(records)
    if storage.is_bucket(records.directory):
        size = records.shards[0].num_records if records.shards else 0
    return [records[index] for index in range(0, size, max(1, size // number))]


def find_records(
    source: str, number: int, record_types: Sequence[type[Record]] = (PreferencePair,)
) -> list[Any]:
    """About `number` training records, of one of these types, spread over the folder of shards `source`; none if it
    cannot be read any more."""
    try:
        if not (storage.to_path(source) / MANIFEST).is_file():
            return []
        only = 0 if storage.is_bucket(source) else None
        record_type = find_record_type(source, record_types)
        return _spread(ShardedDataset(source, record_type, "train", False, only=only), number)
    except Exception as error:  # moved, damaged, or a bucket that does not answer
        logger.warning("data at %s cannot be read: %s", source, error)
        return []


def of_settings(
    texts: TextsConfig, trained: TextForm | None, model: str, max_length: int = TextForm.max_length
) -> TextForm:
    """The form that a model's texts are to be written in: `trained`, except for what the settings say.

    `max_length` is that of a model whose form is not known. Raises UserError where neither says the form.
    """
    given = {
        name: value
        for name in ("template", "append_eos", "max_length")
        if (value := getattr(texts, name)) is not None
    }
    if texts.form != "auto":
        given["form"] = texts.form
    elif texts.template is not None:
        given["form"] = "text"
    if trained is None:
        require(
            given.get("form") == "conversation" or "template" in given,
            "texts.template",
            None,
            f"must be given: {model} has neither a codepmp_jax.json nor a chat template, so it does not say how its "
            "texts are written",
            "give the template that it was trained with, e.g. --texts.template '{prompt}{response}'",
        )
        trained = TextForm("text", max_length=max_length)
    return dataclasses.replace(trained, **given)


def write_form(workdir: str | os.PathLike[str], form: TextForm) -> None:
    """Records how a run's texts are written, in WORKDIR/texts.json."""
    write_json(storage.to_path(workdir) / FILE, dataclasses.asdict(form))


def read_run(workdir: str | os.PathLike[str], data: DataConfig) -> TextForm:
    """How a run's texts are written: by its texts.json, or else by the pairs of `data.folders`, or else as strings.

    Raises UserError where texts.json holds something else.
    """
    path = storage.to_path(workdir) / FILE
    with storage.storage_errors(path, "read"):
        found = path.read_bytes() if path.is_file() else None
    if found is not None:
        return _parse(TextForm, found, str(path))
    kinds = {
        pair.is_conversation
        for folder in data.folders
        for pair in find_records(folder, _SAMPLED_PAIRS)
    }
    if not kinds:
        logger.warning(
            "%s is not there, and no pairs at %s: the run is taken for one on strings",
            path,
            ", ".join(data.folders),
        )
    return of_data(data, _form(kinds))


def read_folder(folder: pathlib.Path, tokenizer: Tokenizer) -> TextForm | None:
    """How the texts of a Hugging Face folder's model are written: by its codepmp_jax.json, or else its chat template.

    None where it has neither. Raises UserError where codepmp_jax.json holds something else.
    """
    path = folder / MADE_BY
    if path.is_file():
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
            data = presets.from_json(DataConfig, made["config"]["data"], str(path))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: holds no config.data ({error!r}). Remedy: convert the run again."
            ) from error
        return of_data(data, made.get("chat_template", "text"))
    if tokenizer.chat_template is None:
        return None
    return TextForm("conversation", max_length=max_length_of(folder, tokenizer))


def max_length_of(folder: pathlib.Path, tokenizer: Tokenizer) -> int:
    """Most tokens of a text by a folder's config.json and tokenizer_config.json; data.max_length's default if they
    do not say."""
    path = folder / "config.json"
    hf = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    sizes = hf.get("max_position_embeddings"), tokenizer.settings.get("model_max_length")
    # Tokenizers without a limit say 1e30.
    known = [int(size) for size in sizes if isinstance(size, int | float) and 1 < size < 1e9]
    return min(known, default=DataConfig.max_length)


def _parse(kind: type[TextForm], text: bytes, source: str) -> TextForm:
    """A TextForm from JSON; `source` names it in the error."""
    import pydantic

    try:
        return pydantic.TypeAdapter(kind).validate_json(text)
    except pydantic.ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(
            f"{source}: does not say how texts are written ({said}). Remedy: copy it again, or remove it and "
            "give --texts.form."
        ) from error
