"""Preference data of others, and judged candidates -> pair shards for RM finetuning."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, get_args

from annotated_types import Gt, Le

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    DiskPath,
    Fraction,
    NonNegativeFloat,
    OnlyWith,
    PositiveInt,
    Remedy,
)
from codepmp_jax.config.corpus import DecontaminationConfig, DedupConfig

# A module of codepmp_jax/rm_data/sources each.
SourceName = Literal[
    "candidates",
    "codeultrafeedback",
    "logiqa2",
    "mathshepherd",
    "pairs",
    "reclor",
    "rewardbench",
    "ultrafeedback",
]
# Policies of pairing: those that read what the answers are graded by alone, and those that read confidences too.
ByGrade = Literal["random", "nearest_length", "nearest_edit", "all", "best_worst"]
ByConfidence = Literal["most_confident", "least_confident"]
BY_CONFIDENCE: tuple[str, ...] = get_args(ByConfidence)


@dataclasses.dataclass(frozen=True)
class ParaphrasesConfig(DedupConfig, section="paraphrases"):
    """Which problems are paraphrases of one another, or the same with other names and numbers. They are kept, on one
    side of the split."""

    near: bool = True
    """Search for paraphrases, by MinHash and locality-sensitive hashing over the words of the problems. Otherwise only
    problems that are equal but for case and white space are the same."""
    threshold: Annotated[float, Gt(0), Le(1), Remedy("0.9 finds nearly equal problems only")] = 0.5
    """Jaccard similarity of word n-grams from which two problems are paraphrases."""
    ngram: PositiveInt = 2
    """Words per n-gram."""


@dataclasses.dataclass(frozen=True)
class RmDataConfig(Config):
    """Problems with better and worse answers -> pair shards, split by problem."""

    source: SourceName = "mathshepherd"
    """What the rows are. `candidates`: judged candidates, a problem a line. `pairs`: preference pairs in any form that
    import-pairs reads."""
    input: str | None = None
    """File (JSON lines or array, .gz, Parquet) or folder of files, or a data set on the Hugging Face hub, which is
    streamed. By default the source's own data set on the hub."""
    configuration: str | None = None
    """Configuration of the data set on the hub; by default the source's own."""
    split: str | None = None
    """Split of the data set on the hub; by default the source's own, mostly `train`."""
    heldout_input: str | None = None
    """File, folder or data set to take the held-out pairs from. Its problems, and their paraphrases, are left out of
    the train split. Without it, and without heldout_split, a share of the problems is held out."""
    heldout_split: str | None = None
    """Split of the data set on the hub to take the held-out pairs from: of heldout_input, or else of the input."""
    heldout_fraction: Fraction = 0.05
    """Share of the problems that are held out; 0 writes no held-out split, 1 no train split."""
    output: DiskPath = "runs/rm_data"
    """Folder to write the pair shards to."""
    pairing: ByGrade | ByConfidence = "random"
    """Which of a problem's better and worse answers become pairs. `all`: every better one with every worse one.
    `best_worst`: one pair, of the best and the worst. With any other an answer is in one pair at most: with a `random`
    partner, with one of nearly its length, or of the least edit distance, or those of the highest or lowest `confidences`
    first. Rows that are pairs stay as they are."""
    min_margin: NonNegativeFloat = 0.0
    """Smallest difference of ratings or rewards of a pair. Answers that are rated alike are never a pair."""
    use_margins: bool = False
    """Write the difference of ratings or rewards as the pair's margin, which the pair loss then asks for. The lineage
    has it in any case. A column `margin` is always written."""
    max_chars: PositiveInt | None = None
    """Maximum length of a problem and its answer together, in characters; answers beyond it are left out. By default
    none is."""
    max_pairs_per_problem: PositiveInt | None = None
    """Maximum number of pairs per problem."""
    max_pairs: PositiveInt | None = None
    """Maximum number of train pairs: those of as many random problems as give so many. A smaller number gives the first
    of the pairs that a larger one gives."""
    max_heldout_pairs: PositiveInt | None = None
    """Maximum number of held-out pairs, as max_pairs."""
    right_by: Annotated[
        Literal["last_step", "all_steps"], OnlyWith("source", ("mathshepherd",))
    ] = "last_step"
    """Which solutions of MathShepherd are right. `last_step`: those whose last step, which says the answer, is marked
    right. `all_steps`: those of which every step is; one whose last step is right and another wrong is left out. A
    solution whose last step is marked wrong is always wrong."""
    rewards: Annotated[DiskPath, OnlyWith("source", ("candidates",))] | None = None
    """Scores of the candidates (JSONL), written by `evaluate score`: candidates with a higher reward are better. By
    default right candidates are better than wrong ones, as `evaluate judge` judged them."""
    confidences: Annotated[DiskPath, OnlyWith("pairing", BY_CONFIDENCE)] | None = None
    """Scores of judged candidates (JSONL) that most_confident and least_confident pair them by: how likely the policy finds
    each (`evaluate baseline --baseline mean_likelihood`), or a reward model's rewards (`evaluate score`)."""
    prompts: Annotated[
        Literal["problem", "text", "conversation"], OnlyWith("source", ("candidates",))
    ] = "problem"
    """What the prompts of candidates are. `problem`: the problem's own text, for a reward model. For a policy that learns
    from what it wrote, the question that it was asked, the problem in its task's template: as `text`, or as a
    `conversation` of one turn, as `candidates` asks models with a chat template."""
    paraphrases: ParaphrasesConfig = ParaphrasesConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    records_per_shard: PositiveInt = 100_000
    """Pairs per shard; the last shard of a split holds the rest."""
    skip_bad: bool = False
    """Write malformed rows to rejects.jsonl and count them. By default the first one ends the command."""
    seed: int = 0
    """Seed of the order of problems, of the split and of random pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.rewards is None or self.source == "candidates",
            "rewards",
            self.rewards,
            f"must not be given with the source {self.source}, whose rows have grades of their own",
            "leave it out",
        )
        require(
            (self.confidences is not None) == (self.pairing in BY_CONFIDENCE),
            "confidences",
            self.confidences,
            f"must be given with the pairings {' and '.join(BY_CONFIDENCE)}, and with no other",
            "give --confidences SCORES, or another --pairing",
        )
        require(
            self.pairing not in BY_CONFIDENCE
            or (self.source == "candidates" and self.rewards is None),
            "pairing",
            self.pairing,
            "needs judged candidates, whose confidences are known: the source candidates without rewards",
            "give --source candidates without --rewards, or another --pairing",
        )
        require(
            self.prompts == "problem" or self.source == "candidates",
            "prompts",
            self.prompts,
            f"must not be given with the source {self.source}, whose rows have prompts of their own",
            "leave it out",
        )
