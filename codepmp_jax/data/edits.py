"""What the two responses of a pair differ in, as marks on their tokens.

Rejected is taken for what chosen was edited from. An edit marks the tokens of rejected that it replaces or deletes, and
those of chosen that it puts in; one that only puts in marks the token of rejected that it stands before. Edits that
change nothing but blank lines and lines of comment (# or //) mark nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32
from rapidfuzz.distance import LCSseq, Levenshtein

from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.text.tokenization import Tokenizer

Marks = tuple[Bool[np.ndarray, " C1"], Bool[np.ndarray, " C2"]]
"""Whether each token of chosen's and rejected's response is marked."""


class TokenLines:
    """A response by lines: on which of them each of its tokens stands."""

    def __init__(self, pieces: Sequence[str]):
        """`pieces` are the texts of the tokens."""
        self.lines = "".join(pieces).split("\n")
        newlines = np.cumsum([0, *(piece.count("\n") for piece in pieces)])
        self.first = newlines[:-1]
        """The line on which each token begins; a newline is of the line that it ends."""
        self.last = np.array(
            [
                newlines[i + 1] - (piece.endswith("\n") and len(piece) > 0)
                for i, piece in enumerate(pieces)
            ],
            int,
        )
        """The line of each token's last character."""

    def code(self, start: int, stop: int) -> list[str]:
        """The lines of the tokens from `start` to before `stop` and of their neighbours, without blank ones and comments."""
        start, stop = max(start - 1, 0), min(stop + 1, len(self.first))
        if start >= stop:
            return []
        lines = [line.rstrip() for line in self.lines[self.first[start] : self.last[stop - 1] + 1]]
        return [line for line in lines if line and not line.lstrip().startswith(("#", "//"))]


def changed_tokens(
    chosen: Int32[np.ndarray, " C1"],
    rejected: Int32[np.ndarray, " C2"],
    pieces: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Marks:
    """Marks of the tokens that an edit of least length (Levenshtein) changes; `pieces` are the tokens' texts, without
    which every edit counts."""
    marks = np.zeros(len(chosen), bool), np.zeros(len(rejected), bool)
    lines = None if pieces is None else tuple(map(TokenLines, pieces))
    for edit in Levenshtein.opcodes(rejected.tolist(), chosen.tolist()):
        if edit.tag == "equal":
            continue
        old, new = (edit.src_start, edit.src_end), (edit.dest_start, edit.dest_end)
        if lines is not None and lines[1].code(*old) == lines[0].code(*new):
            continue
        marks[0][slice(*new)] = True
        marks[1][old[0] : max(old[1], old[0] + 1)] = True
    return marks


def changed_lines(pieces: tuple[Sequence[str], Sequence[str]]) -> Marks:
    """Marks of the tokens on lines outside the longest common subsequence of both responses' lines."""
    chosen, rejected = map(TokenLines, pieces)
    is_common = np.zeros(len(chosen.lines), bool), np.zeros(len(rejected.lines), bool)
    for part in LCSseq.opcodes(rejected.lines, chosen.lines):
        if part.tag == "equal":
            is_common[0][part.dest_start : part.dest_end] = True
            is_common[1][part.src_start : part.src_end] = True

    def marks(text: TokenLines, common: Bool[np.ndarray, " L"]) -> Bool[np.ndarray, " C"]:
        spans = zip(text.first, text.last, strict=True)
        return np.array([not common[first : last + 1].all() for first, last in spans], bool)

    return marks(chosen, is_common[0]), marks(rejected, is_common[1])


def responses(
    pair: TokenizedPair,
) -> tuple[Int32[np.ndarray, " C1"], Int32[np.ndarray, " C2"]]:
    """The labels of chosen and of rejected."""
    chosen, rejected = (text[labels] for _, text, labels in pair.labelled(SIDES))
    return chosen, rejected


@functools.lru_cache(maxsize=4)
def _tokenizer(name: str) -> Tokenizer:
    return Tokenizer.load(name)


def pieces_of(name: str, tokens: Int32[np.ndarray, " C"]) -> list[str]:
    """The text of each token by the tokenizer of that name, loaded once in a process; empty for special ones."""
    backend = _tokenizer(name).backend
    return [backend.decode([int(token)]) for token in tokens]
