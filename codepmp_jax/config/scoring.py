"""Candidates or pairs -> scores."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    DiskPath,
    OnlyWith,
    PositiveFloat,
    PositiveInt,
    Remedy,
    Rule,
    StorePath,
)
from codepmp_jax.config.data import DataConfig, is_template
from codepmp_jax.config.mesh import MeshConfig


@dataclasses.dataclass(frozen=True)
class ScorerConfig(Config, section="scorer"):
    """How texts are scored."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations and matmuls; rewards are float32."""
    batch_tokens: PositiveInt | None = None
    """Tokens computed at once (jax: per device that rows are distributed over); by default 1024 on a CPU and
    16384 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """PyTorch device; `auto` uses a GPU if there is one. JAX always uses the devices that it finds."""


@dataclasses.dataclass(frozen=True)
class TextsConfig(Config, section="texts"):
    """How texts are written. By default as the model was trained, which its run or folder records. A folder that
    `convert to-hf` did not write has its tokenizer's chat template, and takes as many tokens as config.json names
    positions; without a chat template, `template` must be given."""

    form: Literal["auto", "text", "conversation"] = "auto"
    """`text`: rows of `template`. `conversation`: the tokenizer's chat template. `auto`: as the model was trained. Pairs
    of the other form are rewritten and counted: a string as a user's message with its answer, a conversation as rows."""
    template: (
        Annotated[
            str,
            Rule(is_template, "must hold {prompt} once, then {response} once, at the end"),
            Remedy("e.g. 'Instruction:{prompt}\\n\\nResponse:{response}'"),
        ]
        | None
    ) = None
    """Row of a prompt and a response; ends in {response}. Gives form `text` unless `form` says otherwise."""
    max_length: PositiveInt | None = None
    """Most tokens of a text; what is longer is cut on the right and counted."""
    append_eos: bool | None = None
    """End every text with the tokenizer's EOS token."""


@dataclasses.dataclass(frozen=True)
class TokenPageConfig(Config):
    """The reward of every token of some texts, as lines and as a page."""

    model: StorePath = ""
    """Training run of a reward model."""
    step: int | None = None
    """Step of its checkpoint; by default the newest."""
    input: StorePath = "runs/pairs"
    """Pairs or candidates, as `evaluate score` reads them."""
    split: Literal["train", "heldout"] = "heldout"
    """Split to read from a folder of shards."""
    num_items: PositiveInt = 20
    """Number of pairs, or problems, from the first on."""
    output: DiskPath = "runs/tokens"
    """Folder to write tokens.jsonl and report.html to."""
    texts: TextsConfig = TextsConfig()
    scorer: ScorerConfig = ScorerConfig()


@dataclasses.dataclass(frozen=True)
class ScoreConfig(Config):
    """Rewards of every candidate, or of both texts of every pair."""

    model: str = ""
    """Model to score with: a Hugging Face folder of a reward model, written by launch/convert.py or not (torch), or a
    training run, local or gs:// (jax)."""
    backend: Literal["torch", "jax"] = "torch"
    """`torch`: PyTorch, from a converted folder. `jax`: JAX, from a run's checkpoint, on one device or the devices of
    a pod."""
    step: int | None = None
    """Step of the run's checkpoint (jax); by default the newest."""
    input: StorePath = "runs/candidates.jsonl"
    """Texts to score. Candidates: JSONL, one problem per line. Pairs: a folder of shards, or JSONL or Parquet in the
    format of TRL or RewardBench."""
    split: Literal["train", "heldout"] = "heldout"
    """Split to read from a folder of shards."""
    output: DiskPath = "runs/scores.jsonl"
    """JSONL file to write the scores to, one text per line."""
    texts: TextsConfig = TextsConfig()
    scorer: ScorerConfig = ScorerConfig()
    mesh: MeshConfig = MeshConfig()
    """Layout of the devices (jax)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.backend == "jax" or (self.step is None and self.mesh == MeshConfig()),
            "backend",
            self.backend,
            "must be jax with --step or --mesh, which are about a training run",
            "give --backend jax, or leave them out",
        )
        require(
            self.backend == "torch" or self.scorer.device == "auto",
            "scorer.device",
            self.scorer.device,
            "must be left out with --backend jax, which takes the devices that there are",
            "set JAX_PLATFORMS to choose others",
        )


_BAG = OnlyWith("baseline", ("bag_of_tokens",))


@dataclasses.dataclass(frozen=True)
class BaselineConfig(Config):
    """Scores without a reward model: of every candidate, or of both texts of every pair."""

    baseline: Literal["likelihood", "mean_likelihood", "bag_of_tokens"] = "likelihood"
    """`likelihood`: the log-likelihood of the response after its prompt, summed over its tokens (PyTorch).
    `mean_likelihood`: its mean over them. `bag_of_tokens`: a weight for each token of the response, fitted to the train
    split of `input`."""
    model: str = ""
    """Hugging Face folder: of the causal LM; bag_of_tokens takes its tokenizer alone."""
    input: StorePath = "runs/candidates.jsonl"
    """Texts to score, as of `evaluate score`; for bag_of_tokens a folder of pair shards."""
    split: Literal["train", "heldout"] = "heldout"
    """Split to score of a folder of shards."""
    output: DiskPath = "runs/scores.jsonl"
    """JSONL file to write the scores to, one text per line."""
    max_pairs: Annotated[PositiveInt, _BAG] | None = None
    """Number of train pairs to fit to, those of data.max_pairs in training; by default all."""
    subset_seed: Annotated[int, _BAG] = 0
    """Seed of that choice, as data.subset_seed."""
    penalty: Annotated[PositiveFloat, _BAG] = 1.0
    """Weight of the L2 penalty on the weights of tokens."""
    texts: TextsConfig = TextsConfig(form="text", template=DataConfig.template)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations and matmuls; likelihoods are float32."""
    batch_tokens: PositiveInt = 2048
    """Tokens computed at once, if a single text has no more."""
