"""Documents as what rows are packed from: plain texts of which every token is predicted.

A document is the code of a SourceFile (a file, a class or a function, as `codepmp corpus` was asked to write), or a
whole text of a pair. Every token of a document but its first is a label. A document of more tokens than max_length (or
than a row) is left out, cut on the right, or, by data.length_policy `split`, divided into pieces, each of which is
packed on its own. Each piece begins with the last token of the piece before: so every token but the document's first
is a label in exactly one piece, and no piece is without a label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from codepmp_jax.config import DataConfig
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.item_kind import ItemKind, Part
from codepmp_jax.data.tokenized_item import TokenizedText, with_companions
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer

if TYPE_CHECKING:
    from codepmp_jax.data.layouts import Layout


@dataclasses.dataclass(frozen=True)
class Documents(ItemKind):
    """The document of a SourceFile, or one or two documents of a pair, in pieces."""

    pair_texts: Literal["both", "chosen"] = "both"
    """The texts of a pair that are documents, each one of its own, prompt and response together."""

    unit = "pieces"
    noun = "document"
    num_texts = 1
    record_types = (SourceFile, PreferencePair)
    eos_may_be_pad = True

    def record_id(self, record: SourceFile | PreferencePair) -> str:
        """As in ItemKind."""
        return record.pair_id if isinstance(record, PreferencePair) else record.source_id

    def may_be_refused(self, record: SourceFile | PreferencePair) -> bool:
        """As in ItemKind."""
        return isinstance(record, PreferencePair) and record.is_conversation

    def write(
        self, record: SourceFile | PreferencePair, tokenizer: Tokenizer, config: DataConfig
    ) -> Sequence[Text]:
        """The code as it is; of a pair the texts that training on pairs has."""
        if isinstance(record, SourceFile):
            return [Text(record.content, 0)]
        texts = tokenizer.format_pair(record, config.template)
        return texts if self.pair_texts == "both" else texts[:1]

    def fit(
        self,
        record: SourceFile | PreferencePair,
        texts: Sequence[EncodedText],
        layout: Layout,
    ) -> list[Part]:
        """The pieces of each text in turn, or why it is dropped: as `empty`, where it has no token to predict."""
        config = layout.config
        limit = min(config.max_length, layout.row_tokens)
        name = self.record_id(record)
        parts: list[Part] = []
        for text in texts:
            length = len(text.tokens)
            if length < 2:
                parts.append(Dropped("empty", name))
            elif length > limit and config.length_policy == "drop":
                parts.append(Dropped("too_long", name))
            else:
                last = length - 1 if config.length_policy == "split" else 1
                for first in range(0, last, limit - 1):
                    piece = TokenizedText(name, text.tokens[first : first + limit], first=first)
                    parts.append(with_companions(piece, record, layout.companions))
        return parts
