"""What a row says of a problem: its answers with grades. And what a source of rows is."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from typing import Any

from codepmp_jax.config import RmDataConfig
from codepmp_jax.files.json_lines import json_line
from codepmp_jax.records.row_files import MalformedRow

# What grades are.
CORRECTNESS = "correctness"
RATING = "rating"
REWARD = "reward"
PREFERENCE = "preference"
# Why an answer is left out where grades are ratings.
NO_RATING = "response has no rating"

RIGHT, WRONG = 1.0, 0.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to a problem."""

    text: str
    """The text; JSON messages in a conversation."""
    grade: float
    """The better the answer, the higher: RIGHT or WRONG, a rating, or a reward."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What else the row says of it, for the lineage."""
    syntax: str = ""
    """Hash of a program's syntax tree: programs with equal ones are never a pair. Empty for what is no program."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A problem with answers, from one row."""

    prompt: str
    """The problem; JSON messages in a conversation."""
    answers: tuple[Answer, ...]
    graded_by: str
    """CORRECTNESS, RATING, REWARD, or PREFERENCE: one answer was preferred to another."""
    subset: str = ""
    is_conversation: bool = False
    is_pair: bool = False
    """The two answers are a pair already: the better one, and the worse one."""
    is_pooled: bool = True
    """Its answers may be compared with those of other rows of the problem."""
    margin: float = 0.0
    """The pair's own margin (`is_pair` only)."""
    place: tuple[str, int] = ("", 0)
    """File, or data set, and row."""
    is_heldout: bool = False
    """It comes from the input of held-out pairs."""

    def problem_text(self) -> str:
        """What makes the problem; of a row without a prompt its answers."""
        text = plain(self.prompt, self.is_conversation) if self.prompt else ""
        if text.strip():
            return text
        return "\n".join(sorted(plain(one.text, self.is_conversation) for one in self.answers))

    def to_bytes(self) -> bytes:
        """The entry as JSON; equal entries, equal bytes."""
        # asdict copies deeply, which takes longer than all the rest.
        answers = [tuple(vars(answer).values()) for answer in self.answers]
        return json_line(self.__dict__ | {"answers": answers}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """The entry that `to_bytes` wrote."""
        values = json.loads(data)
        answers = tuple(Answer(*answer) for answer in values.pop("answers"))
        return cls(**values | {"answers": answers, "place": tuple(values["place"])})


@dataclasses.dataclass
class Reading:
    """What a row was read as."""

    entry: Entry | None
    """None where the row says nothing that pairs can be made of; `dropped` says why."""
    not_read: list[str] = dataclasses.field(default_factory=list)
    """Columns that hold something which no pair has."""
    remarks: set[str] = dataclasses.field(default_factory=set)
    """What is to be said of how the row was read."""
    dropped: list[str] = dataclasses.field(default_factory=list)
    """Reasons for which answers of the row, or all of it, were left out; one entry an answer."""


Reader = Callable[[dict[str, Any], int], Reading]
"""(row, its number from 1) -> what it is read as. Raises MalformedRow."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A form of rows. Its name is that of its module."""

    open: Callable[[RmDataConfig], Reader]
    """The reader of the rows with these settings. Raises UserError."""
    hub: str = ""
    """Name of the data set on the Hugging Face hub; empty where there is none."""
    configuration: str | None = None
    """Its configuration; None where it has only one."""
    split: str = "train"
    """The split that is read by default."""


def find_source(name: str) -> Source:
    """The source of that name, one of the config's `SourceName`."""
    return importlib.import_module(f"codepmp_jax.rm_data.sources.{name}").SOURCE


def plain(text: str, is_conversation: bool) -> str:
    """The text; of a conversation what its turns say, a blank line between."""
    if not is_conversation:
        return text
    return "\n\n".join(message["content"] for message in json.loads(text))


def not_read(row: dict[str, Any], *read: str) -> list[str]:
    """The columns of a row, apart from those `read`, that hold something."""
    return [
        name
        for name, value in row.items()
        if name not in read and value is not None and value not in ("", [], {})
    ]


def text_of(row: dict[str, Any], name: str) -> str:
    """The text in a column. Raises MalformedRow where there is none, or it is blank."""
    value = row.get(name)
    if value is None:
        raise MalformedRow(f"{name} is missing", f"there are {', '.join(row)}")
    if not isinstance(value, str):
        raise MalformedRow(f"{name} is no text", type(value).__name__)
    if not value.strip():
        raise MalformedRow(f"{name} is blank")
    return value


def number_of(value: Any) -> float | None:
    """A rating: a number, or digits; None for anything else, e.g. `N/A`."""
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    is_number = number is not None and not isinstance(value, bool) and abs(number) < float("inf")
    return number if is_number else None
