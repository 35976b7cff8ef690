"""Preference pairs in the rows of others.

What a row's columns are read as, the first that applies:

    replies    chosen, rejected; better, worse (CodePMP's authors); response_j, response_k (Stack Exchange)
    question   prompt, question, query, instruction (with input below it), input, context, conversations, history;
               the first that is not blank
    before it  system, system_prompt; history where it is a list of turns
    others     margin, subset

Texts and messages: where question or replies are messages (lists of {role, content}, ShareGPT's {from, value}, one
such message, or JSON of these), or history is a list, all become messages: a question of text is the user's turn, a
reply of text the assistant's, system the system's. Otherwise all are texts, and system stands above the question, a
blank line between.

Where the replies are whole dialogues that begin with the question, it stands once. Without a question it is what both
replies begin with (codepmp_jax.records.turns), but a column of a question that is there and blank means that texts
have none. What a whole conversation says itself counts more than a column beside it.

Nothing else of a row is read, and `Findings` counts by column what was not.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import struct
from typing import Any

from codepmp_jax.records import turns
from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.turns import ASSISTANT, Messages

REPLIES = (("chosen", "rejected"), ("better", "worse"), ("response_j", "response_k"))
QUESTIONS = (
    "prompt",
    "question",
    "query",
    "instruction",
    "input",
    "context",
    "conversations",
    "history",
)
SYSTEM = ("system", "system_prompt")

# Where the prompt comes from.
COLUMN = "column"
SHARED_TURNS = "shared turns of conversations"
SHARED_DIALOGUE = "shared turns of dialogues in text"
SHARED_WORDS = "shared words of texts"
NO_PROMPT = "none"

# Remarks on a row.
BLANK = "the prompt's column is null or blank"
FROM_JSON = "messages were read from JSON text"
FROM_TEXT = "texts beside messages became turns"
REPEATED = "both replies repeat the prompt, which was taken once"
KEPT_REPEATED = "both replies begin with the text of the prompt, which was kept"


@dataclasses.dataclass
class ParsedRow:
    """The pair in a row, and what is to be said of how it was read."""

    pair: PreferencePair
    prompt_from: str
    """COLUMN, SHARED_TURNS, SHARED_DIALOGUE, SHARED_WORDS or NO_PROMPT."""
    not_read: list[str]
    """Columns that hold something which the pair does not."""
    remarks: set[str]
    """BLANK, FROM_JSON, FROM_TEXT, REPEATED, KEPT_REPEATED."""


@dataclasses.dataclass
class Findings:
    """Counts over rows: what was read as what, and what was not read."""

    prompts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Where the prompt came from -> rows."""
    columns_not_read: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    """Column -> rows in which it holds something that the pair does not."""
    remarks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Remark -> rows."""
    kinds: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """`texts` and `conversations` -> rows."""

    def add(self, row: ParsedRow) -> None:
        """Counts one row."""
        self.prompts[row.prompt_from] += 1
        self.columns_not_read.update(row.not_read)
        self.remarks.update(row.remarks)
        self.kinds["conversations" if row.pair.is_conversation else "texts"] += 1

    def to_json(self) -> dict[str, dict[str, int]]:
        """The counts by name, each by falling count."""
        return {
            field.name: dict(getattr(self, field.name).most_common())
            for field in dataclasses.fields(self)
        }

    def lines(self) -> list[str]:
        """What a reader has to know: nothing of rows whose prompt is a column and of which all is read."""
        lines = []
        if self.columns_not_read:
            lines.append(f"columns not read (rows): {_counts(self.columns_not_read)}")
        if self.prompts.keys() - {COLUMN}:
            lines.append(f"prompts (rows): {_counts(self.prompts)}")
        if SHARED_DIALOGUE in self.prompts:
            lines.append(
                "dialogues of text keep the marks of their turns: --data.template '{prompt}{response}' adds no others"
            )
        lines += [f"{remark}: {count} row(s)" for remark, count in self.remarks.most_common()]
        if len(self.kinds) > 1:
            lines.append(f"kinds are mixed (rows): {_counts(self.kinds)}")
        return lines


def _counts(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def parse_row(row: Any, lineage: dict[str, Any]) -> ParsedRow:
    """The pair in a row. Raises MalformedRow saying why there is none."""
    if not isinstance(row, dict):
        raise MalformedRow("row is no object")
    parsed = _Parser(row).parse()
    prompt, chosen, rejected = parsed.texts
    is_conversation = not isinstance(chosen, str)
    if is_conversation:
        prompt, chosen, rejected = (json.dumps(value, ensure_ascii=False) for value in parsed.texts)
    subset = row.get("subset") or ""
    if not isinstance(subset, str):
        raise MalformedRow("subset is no string")
    try:
        for text in (prompt, chosen, rejected, subset):
            text.encode()
    except UnicodeEncodeError as error:
        raise MalformedRow("text is no valid Unicode", str(error)) from error
    pair = PreferencePair(
        pair_id=content_id(prompt, chosen, rejected),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        is_conversation=is_conversation,
        margin=_margin(row.get("margin")),
        subset=subset,
        lineage=lineage,
    )
    # An export's pair_id is that of the texts.
    read = (
        parsed.read
        | {"margin", "subset"}
        | ({"pair_id"} if row.get("pair_id") == pair.pair_id else set())
    )
    not_read = [name for name, value in row.items() if name not in read and not _is_blank(value)]
    return ParsedRow(pair, parsed.prompt_from, not_read, parsed.remarks)


def _margin(value: Any) -> float:
    """A number that is finite as float32, which shards and devices hold."""
    if value is None:
        return 0.0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if not is_number or not math.isfinite(value):
            raise OverflowError
        struct.pack("<f", value)
    except OverflowError:
        is_long = isinstance(value, int) and abs(value) > 10**40
        shown = "a number beyond float32" if is_long else f"{value!r} as float32"
        raise MalformedRow("margin is no finite number", shown) from None
    return float(value)


def _is_blank(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


class _Parser:
    """Prompt, chosen and rejected of one row."""

    def __init__(self, row: dict[str, Any]):
        self.row = row
        self.read: set[str] = set()
        self.remarks: set[str] = set()
        self.prompt_from = COLUMN
        self.texts: tuple[Any, Any, Any]

    def parse(self) -> _Parser:
        """Finds the texts. Raises MalformedRow."""
        chosen, rejected = self._replies()
        question = self._question()
        history = self._history()
        system = self._system()
        if any(isinstance(value, list) for value in (chosen, question, history)):
            self.texts = self._as_messages(question, history or [], system, chosen, rejected)
        else:
            self.texts = self._as_texts(question, system, chosen, rejected)
        return self

    # --- columns ----------------------------------------------------------------------------------

    def _replies(self) -> tuple[Any, Any]:
        given = [
            names for names in REPLIES if any(self.row.get(name) is not None for name in names)
        ]
        names = given[0] if given else REPLIES[0]
        found = []
        for name, column in zip(REPLIES[0], names, strict=True):
            if self.row.get(column) is None:
                if column in self.row:
                    raise MalformedRow(f"{name} is null")
                shown = f"there are {', '.join(self.row)}" if self.row else ""
                raise MalformedRow(f"{name} is missing", shown)
            found.append(self._value(column, name))
            if not found[-1]:
                raise MalformedRow(f"{name} is empty")
        if type(found[0]) is not type(found[1]):
            raise MalformedRow("chosen and rejected are not both strings or both messages")
        return found[0], found[1]

    def _question(self) -> Any:
        """A text, messages, or None."""
        for name in QUESTIONS:
            value = self.row.get(name)
            if _is_blank(value) or (name == "history" and isinstance(value, list)):
                continue
            try:
                found = self._value(name, name)
            except MalformedRow:
                # A column of one of the usual names need not be a question.
                if name == "prompt":
                    raise
                continue
            below = self.row.get("input")
            if name == "instruction" and isinstance(found, str) and isinstance(below, str):
                self.read.add("input")
                found = f"{found}\n{below}" if below.strip() else found
            return found
        names = set(QUESTIONS) - (
            {"history"} if isinstance(self.row.get("history"), list) else set()
        )
        if names & self.row.keys():
            self.remarks.add(BLANK)
        return None

    def _history(self) -> Messages | None:
        """Turns before the question, from messages or pairs of question and answer; None without such a column."""
        value = self.row.get("history")
        if not isinstance(value, list):
            return None
        self.read.add("history")
        if all(isinstance(turn, list) and len(turn) == 2 for turn in value):
            value = [
                {"role": role, "content": text}
                for turn in value
                for role, text in zip(("user", ASSISTANT), turn, strict=True)
            ]
        return turns.to_messages("history", value)

    def _system(self) -> str:
        for name in SYSTEM:
            value = self.row.get(name)
            if isinstance(value, str) and value.strip():
                self.read.add(name)
                return value
        return ""

    def _value(self, column: str, name: str) -> Any:
        """A text or messages, in errors under a name."""
        value = self.row[column]
        self.read.add(column)
        try:
            if isinstance(value, str):
                found = turns.messages_in(value)
                if found is None:
                    return value
                self.remarks.add(FROM_JSON)
                return turns.to_messages(name, found)
            if isinstance(value, dict) and value.keys() & {"role", "from"}:
                value = [value]
            if not isinstance(value, list):
                raise MalformedRow(f"{name} is neither a string nor messages", type(value).__name__)
            return turns.to_messages(name, value)
        except MalformedRow:
            self.read.discard(column)
            raise

    # --- texts ------------------------------------------------------------------------------------

    def _as_texts(
        self, question: str | None, system: str, chosen: str, rejected: str
    ) -> tuple[str, str, str]:
        prompt = question or ""
        if question is None:
            length, rule = turns.split_texts(chosen, rejected)
            if rule == "words" and BLANK in self.remarks:
                length = 0
            self.prompt_from = SHARED_DIALOGUE if rule == "dialogue" else SHARED_WORDS
            if not length:
                self.prompt_from = COLUMN if system else NO_PROMPT
            prompt, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
        elif all(text.startswith(question.rstrip()) for text in (chosen, rejected)):
            length = len(question.rstrip())
            is_dialogue = turns.style_of(chosen) and turns.style_of(rejected)
            if is_dialogue and chosen[length:].strip() and rejected[length:].strip():
                self.remarks.add(REPEATED)
                prompt, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
            else:
                self.remarks.add(KEPT_REPEATED)
        return "\n\n".join(filter(None, (system, prompt))), chosen, rejected

    # --- messages ---------------------------------------------------------------------------------

    def _as_messages(
        self, question: Any, history: Messages, system: str, chosen: Any, rejected: Any
    ) -> tuple[Messages, Messages, Messages]:
        if isinstance(chosen, str):
            self.remarks.add(FROM_TEXT)
            chosen, rejected = (
                [{"role": ASSISTANT, "content": text}] for text in (chosen, rejected)
            )
        shared = turns.shared_turns(chosen, rejected)
        if isinstance(question, list):
            length, prompt = self._behind_messages(question, shared, chosen, rejected)
        elif turns.holds_question(shared):
            length = turns.end_of_prompt(shared)
            prompt = shared[:length]
            self.prompt_from = SHARED_TURNS
            if question is not None and not _says(prompt, question):
                self._leave(*(name for name in QUESTIONS if name != "history"))
        else:
            length = turns.end_of_prompt(shared)
            prompt = shared[:length]
            if question is not None:
                self.remarks.add(FROM_TEXT)
                prompt = [*prompt, {"role": "user", "content": question}]
            else:
                self.prompt_from = COLUMN if history or system else NO_PROMPT
        chosen, rejected = chosen[length:], rejected[length:]
        if history and turns.position_of(history, prompt) is None:
            place = next((i for i, t in enumerate(prompt) if t["role"] != "system"), len(prompt))
            if self.prompt_from == SHARED_TURNS:
                self._leave("history")
            else:
                prompt = [*prompt[:place], *history, *prompt[place:]]
        if system and not any(
            turn["role"] == "system" and turn["content"].strip() == system.strip()
            for turn in prompt[:1]
        ):
            if prompt and prompt[0]["role"] == "system":
                self._leave(*SYSTEM)
            else:
                prompt = [{"role": "system", "content": system}, *prompt]
        is_open = bool(prompt) and prompt[-1]["role"] == "user" and self.prompt_from == COLUMN
        if is_open and any(reply[0]["role"] == "user" for reply in (chosen, rejected)):
            raise MalformedRow("a reply begins with another user turn than the prompt ends in")
        return prompt, chosen, rejected

    def _behind_messages(
        self, question: Messages, shared: Messages, chosen: Messages, rejected: Messages
    ) -> tuple[int, Messages]:
        """(turns of the replies that are the prompt's, the prompt), where the prompt is messages."""
        start = turns.position_of(question, shared)
        if start is not None:
            self.remarks.add(REPEATED)
            length = start + len(question)
            return length, chosen[:length]
        length = turns.num_repeated(question, shared)
        if length:
            self.remarks.add(REPEATED)
        elif turns.holds_question(shared) and any(
            turns.same_turn(turn, asked) for turn in shared for asked in question
        ):
            raise MalformedRow(
                "the replies repeat a part of the prompt, but not from its start or to its end"
            )
        return length, question

    def _leave(self, *names: str) -> None:
        """What columns say is not in the pair."""
        self.read.difference_update(names)


def _says(prompt: Messages, question: str) -> bool:
    """Whether a turn is the question, or the question is all of the turns written as one text."""
    contents = [turn["content"].strip() for turn in prompt]
    if question.strip() in contents:
        return True
    rest, start = "", 0
    for content in contents:
        place = question.find(content, start)
        if place < 0:
            return False
        rest += question[start:place]
        start = place + len(content)
    rest = turns.without_markers(rest + question[start:])
    return not any(character.isalnum() for character in rest)
