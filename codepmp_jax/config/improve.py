"""A policy that learns from its own judged programs, round after round."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from annotated_types import Ge, MinLen

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    DiskPath,
    PositiveInt,
    Remedy,
    StorePath,
)
from codepmp_jax.config.evaluation import ResamplingConfig
from codepmp_jax.config.rm_data import ByGrade
from codepmp_jax.config.synthesis import WriterConfig


@dataclasses.dataclass(frozen=True)
class ImproveConfig(Config):
    """Rounds of: a policy writes programs, a judge runs them, right against wrong ones are pairs, the policy is trained."""

    output: DiskPath = "runs/improve"
    """Folder to write everything to: a folder a round, steps/ (state and log of each command), report.html. The same
    command goes on there after a kill; with more --rounds it adds them."""
    runs: StorePath = ""
    """Folder of the training runs, local or gs://; by default the output."""
    model: str = ""
    """Model that the first round begins with: a Hugging Face folder or hub name of a causal LM."""
    problems: DiskPath = "runs/problems.jsonl"
    """Problems that the policy writes programs for and learns from (JSONL, as `evaluate problems` writes them)."""
    heldout: DiskPath = "runs/heldout.jsonl"
    """Other problems, on which every round's policy is evaluated."""
    rounds: PositiveInt = 2
    """Number of rounds."""
    training: str = "dpo_code_7b"
    """Preset, or Python file, of a round's training: of DPO or weighted DPO. Its start, pairs and reference are filled in."""
    training_options: str = ""
    """Further options of the training, behind a `=`: `--training-options="--num-epochs 2 --optimizer.learning-rate 1e-6"`."""
    num_candidates: Annotated[int, Ge(2), Remedy("a pair needs a right and a wrong program")] = 16
    """Programs that are written for each problem in a round."""
    heldout_candidates: Annotated[int, Ge(2), Remedy("give some; pass@1 is their mean")] = 16
    """Programs that are written for each held-out problem."""
    k: Annotated[tuple[PositiveInt, ...], MinLen(1), Remedy("give --k 1")] = (1,)
    """Numbers of programs of which one has to be right, for pass@k; at most heldout_candidates."""
    pairing: ByGrade = "random"
    """Which right and wrong programs of a problem become pairs, as in `rm-data`."""
    max_pairs_per_problem: PositiveInt | None = 4
    """Maximum number of pairs per problem."""
    writer: WriterConfig = WriterConfig(sampler="vllm", chat="always")
    """How programs are written; its model is that of each round. With `chat` always, the policy is asked, and trained, in
    conversations; with never, in the bare text of the task's template."""
    launcher: str = ""
    """Words to put before each training command, such as `srun -N 8` or `codepmp supervise --`."""
    dry_run: bool = False
    """List the commands and what is to be done; run nothing."""
    seed: int = 0
    """Seed of writing and training; that of a round is its number further on."""
    resampling: ResamplingConfig = ResamplingConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            max(self.k) <= self.heldout_candidates,
            "k",
            self.k,
            f"must be at most heldout_candidates ({self.heldout_candidates})",
            "give more --heldout-candidates, or smaller k",
        )
        require(
            self.writer.sampler in ("vllm", "transformers"),
            "writer.sampler",
            self.writer.sampler,
            "must be vllm or transformers: the model of a round is a folder that was written just before",
            "give --writer.sampler vllm, or transformers for a small model",
        )
        require(
            self.writer.chat != "auto",
            "writer.chat",
            self.writer.chat,
            "must be always or never, since training writes prompts as the policy is asked",
            "give --writer.chat always, or never for a model without a chat template",
        )
        require(
            self.writer.chat == "always" or "--data.template" not in self.training_options,
            "training_options",
            self.training_options,
            "must not set --data.template: a prompt is the text that the policy is asked, and nothing stands around it",
            "leave it out",
        )
        require(
            not self.writer.model,
            "writer.model",
            self.writer.model,
            "must be left out: it is the model of each round",
            "give --model",
        )
