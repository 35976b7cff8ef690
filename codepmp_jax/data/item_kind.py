"""What an objective's rows are packed from: which records it reads, and how each becomes items.

The seam between the loader, which knows no record, and an objective (Objective.kind). A kind says how a record is
written as texts and how these, as tokens, become items that fit a row; shuffle, streams, packing, drops and resume are
the same for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from codepmp_jax.config import DataConfig
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.tokenized_item import ItemUnit, TokenizedItem
from codepmp_jax.records.schema import Record
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer

if TYPE_CHECKING:
    from codepmp_jax.data.layouts import Layout

Part = TokenizedItem | Dropped
"""What a record gives: an item, or why there is none."""


@dataclasses.dataclass(frozen=True)
class ItemKind:
    """Base of the kinds. Picklable: the workers call it."""

    unit: ClassVar[ItemUnit]
    """What its items are called in counts and metrics."""
    noun: ClassVar[str]
    """What one of its records is called in messages."""
    num_texts: ClassVar[int]
    """S: texts of an item."""
    record_types: ClassVar[tuple[type[Record], ...]]
    """Records of data.input that it reads."""
    eos_may_be_pad: ClassVar[bool] = False
    """Whether rows may end in an EOS that is also the pad token. Not where a reader of the model has to find the
    row's end, as readers of rewards have to."""

    def record_id(self, record: Any) -> str:
        """By which messages and metrics name a record."""
        raise NotImplementedError

    def may_be_refused(self, record: Any) -> bool:
        """Whether a chat template writes the record, and may so refuse it."""
        raise NotImplementedError

    def write(self, record: Any, tokenizer: Tokenizer, config: DataConfig) -> Sequence[Text]:
        """The record's texts, always as many. Raises UserError where the chat template is missing or refuses them."""
        raise NotImplementedError

    def fit(self, record: Any, texts: Sequence[EncodedText], layout: Layout) -> list[Part]:
        """What the record gives, of its texts as tokens: at least one part, each an item that fits a row or Dropped.

        The parts and their order follow from the arguments alone, since a checkpoint names those that wait by number.
        """
        raise NotImplementedError

    def count(self, num_items: int, num_records: int) -> str:
        """So many items of so many records, in words."""
        return f"{num_items} {self.unit} of {num_records} {self.noun}s"
