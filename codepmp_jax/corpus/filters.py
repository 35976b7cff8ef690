"""Filters: which texts are code worth learning from.

Line lengths, alphanumeric fraction and comment fraction, with their thresholds, are those of The Stack's
and StarCoder's preprocessing (bigcode-project/bigcode-dataset, preprocessing/README.md: 1000, 100, 0.25
and 0.8), the first three after Codex (arXiv 2107.03374, section 3.1).
"""

from __future__ import annotations

from codepmp_jax.config import FilterConfig
from codepmp_jax.corpus import licenses
from codepmp_jax.corpus.comments import comment_scanner
from codepmp_jax.corpus.files import File
from codepmp_jax.corpus.generated import is_generated
from codepmp_jax.text.tokenization import Tokenizer


def comment_fraction(content: str, language: str) -> float:
    """Share of characters in comments and, in Python, docstrings; 0 where the language's signs are not known."""
    scanner = comment_scanner(language)
    if scanner is None or not content:
        return 0.0
    found = (match for match in scanner.finditer(content) if match["comment"])
    return sum(len(match["comment"].strip()) for match in found) / len(content)


class Filters:
    """The rules of a FilterConfig. Picklable."""

    def __init__(self, config: FilterConfig):
        self._config = config
        self._licenses = frozenset(name.lower() for name in config.licenses)
        self._tokenizer = Tokenizer.load("embedded")
        vocabulary = self._tokenizer.backend.get_vocab()
        # In byte-level BPE a token's name has a character a byte.
        self._longest_token = max(map(len, vocabulary))

    def file_reason(self, file: File) -> str | None:
        """The setting on whole files, `licenses` or `drop_generated`, that a file breaks; None where it breaks none."""
        if self._licenses and not licenses.allows(file.license, self._licenses):
            return "licenses"
        if self._config.drop_generated and is_generated(file.content, file.language, file.path):
            return "drop_generated"
        return None

    def reason(self, content: str, language: str) -> str | None:
        """The first setting on texts, in the config's order, that a text breaks; None where it breaks none."""
        config = self._config
        lengths = [len(line) for line in content.splitlines()] or [0]
        if max(lengths) > config.max_line_length:
            return "max_line_length"
        if sum(lengths) / len(lengths) > config.max_mean_line_length:
            return "max_mean_line_length"
        least = config.min_alphanumeric_fraction * len(content)
        if not content or sum(map(str.isalnum, content)) < least:
            return "min_alphanumeric_fraction"
        if comment_fraction(content, language) > config.max_comment_fraction:
            return "max_comment_fraction"
        if self._is_shorter(content, config.min_tokens):
            return "min_tokens"
        if not self._is_shorter(content, config.max_tokens + 1):
            return "max_tokens"
        return None

    def _is_shorter(self, content: str, num_tokens: int) -> bool:
        """Whether the text has fewer tokens; counted only where its size does not settle it."""
        size = len(content.encode(errors="replace"))
        if size < num_tokens:
            return True
        if size >= num_tokens * self._longest_token:
            return False
        backend = self._tokenizer.backend
        return len(backend.encode(content, add_special_tokens=False)) < num_tokens
