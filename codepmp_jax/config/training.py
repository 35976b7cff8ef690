"""Optimizer and run."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OnlyWith,
    PositiveFloat,
    PositiveInt,
    Remedy,
    Rule,
    StorePath,
)
from codepmp_jax.config.checkpoint import CheckpointConfig
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.lora import LoraConfig
from codepmp_jax.config.mesh import MeshConfig
from codepmp_jax.config.model import ModelConfig
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.config.operation import ProfileConfig, WatchdogConfig
from codepmp_jax.config.pmp import PmpConfig

CompilerOption = Annotated[
    str,
    Rule(
        lambda option: re.fullmatch(r"xla_\w+=\S+", option) is not None,
        "must be NAME=VALUE, where the name begins with xla_",
    ),
    Remedy("e.g. xla_enable_async_all_gather=true"),
]

RunAndStep = Annotated[
    str,
    Rule(
        lambda text: re.fullmatch(r"(gs://|(?!.*://)).+@[0-9]+", text) is not None,
        "must be RUN@STEP: a training run (a path or gs://) and the step of one of its checkpoints",
    ),
    Remedy("e.g. runs/pmp_7b_wsd@1000"),
]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Config, section="optimizer"):
    """AdamW with clipping and a warmup schedule."""

    learning_rate: PositiveFloat = 1e-6
    """Peak learning rate."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """Learning rate after the warmup. `cosine`: cosine decay to 0. `wsd`: constant, then cosine decay to 0 over
    decay_fraction."""
    warmup_fraction: Fraction = 0.03
    """Share of the steps that warm up linearly from 0."""
    warmup_steps: NonNegativeInt | None = None
    """Number of steps that warm up, whatever the length of the run; by default by warmup_fraction."""
    decay_fraction: Fraction = 0.1
    """Share of the steps that decay (wsd only)."""
    decay_steps: Annotated[PositiveInt, OnlyWith("schedule", ("wsd",))] | None = None
    """Number of steps that decay, whatever the length of the run (wsd only); by default by decay_fraction. In a decay
    branch (decay_from) it is the length of the branch."""
    weight_decay: Annotated[NonNegativeFloat, Remedy("0 turns it off")] = 0.1
    """Decoupled weight decay, multiplied by the learning rate at each step; 0 turns it off."""
    weight_decay_mask: Literal["matrices", "all_but_biases", "all"] = "matrices"
    """Parameters to decay. `matrices`: all but biases and norm scales, as transformers' Trainer does now.
    `all_but_biases`: norm scales too, as that Trainer did with RMSNorm when the paper was written, and as the authors'
    code does without DeepSpeed. `all`: as in the paper's run, with DeepSpeed."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Decay rate of Adam's first moment."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay rate of Adam's second moment."""
    first_moment_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of Adam's first moment. The second stays float32: with beta2 = 0.999 a step changes it by less than
    bfloat16 resolves."""
    reduce_dtype: Literal["compute", "float32"] = "compute"
    """Dtype in which gradients of matrices are summed over chips: that of model.compute_dtype, or `float32`, for twice
    the bytes."""
    epsilon: PositiveFloat = 1e-8
    """Term added to the square root of the second moment."""
    clip_norm: PositiveFloat = 1.0
    """Maximum global gradient norm; larger gradients are scaled down to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.schedule == "wsd" or self.decay_steps is None,
            "optimizer.decay_steps",
            self.decay_steps,
            f"must not be given with the schedule {self.schedule}, which decays from the warmup on",
            "leave it out, or set optimizer.schedule to wsd",
        )
        are_fractions = self.warmup_steps is None and self.decay_steps is None
        require(
            self.schedule != "wsd"
            or not are_fractions
            or self.warmup_fraction + self.decay_fraction <= 1,
            "optimizer.decay_fraction",
            self.decay_fraction,
            f"must leave room for the warmup ({self.warmup_fraction})",
            "lower decay_fraction or warmup_fraction",
        )


def run_and_step(decay_from: str) -> tuple[str, int]:
    """The two parts of RUN@STEP; RUN without a slash at its end."""
    run, _, step = decay_from.rpartition("@")
    return run.rstrip("/") or run, int(step)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """One training run; `loss` chooses and sets its objective."""

    workdir: StorePath = "runs/train"
    """Folder of the run, local or gs://. Receives config.json, tokenizer/, metrics.jsonl, tensorboard/, checkpoints/,
    goodput.json, notes.txt; with LoRA frozen/, the parameters that no step changes."""
    init: Literal["pmp", "base"] | None = None
    """What the run must start from. `pmp`: a reward model at model.init_from (a PMP run, or a folder converted from
    one), whose score head is kept; a model without one is refused. `base`: the base model at model.base, with a new
    score head. By default model.init_from, with its score head if it has one."""
    decay_from: RunAndStep | None = None
    """Checkpoint of a WSD run that this run starts from and decays at once, as RUN@STEP: a decay branch. On the
    command line all other settings are then RUN's unless given there, in place of a preset's."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    lora: LoraConfig = LoraConfig()
    loss: ObjectiveConfig = PmpConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    profile: ProfileConfig = ProfileConfig()
    global_batch_rows: PositiveInt = 1024
    """Rows per optimizer step, over all devices. In the layout `padded` a row is a pair or document; in the others it
    holds as many as fit."""
    accumulation_steps: PositiveInt = 1
    """Number of parts that a step's batch is computed in, one after the other. Changes memory use, not the result.
    Must divide global_batch_rows."""
    compiler_options: tuple[CompilerOption, ...] = ()
    """XLA options as NAME=VALUE ..., added to the chip's own (codepmp_jax/devices/chips.py) or overriding them."""
    num_steps: PositiveInt | None = None
    """Number of optimizer steps; by default as many as num_epochs take. A decay branch takes STEP and
    optimizer.decay_steps."""
    num_epochs: PositiveFloat = 1.0
    """Passes over the train split (only if num_steps is not given). The number of pairs or documents per step is
    estimated from the first steps. Of a mixture, as many are read as num_epochs passes over all its sources have: how
    often each source comes round depends on its weight, and the log says it."""
    log_every_steps: PositiveInt = 10
    """Steps between log lines; metrics.jsonl has every step."""
    eval_every_steps: PositiveInt = 500
    """Steps between evaluations. The last step is always evaluated."""
    eval_pairs: Annotated[NonNegativeInt, Remedy("0 turns the evaluation off")] = 1024
    """Number of held-out pairs, or documents, to evaluate on during training; 0 turns the evaluation off. Of a mixture,
    equally many of each source, but for sources that have fewer."""
    eval_sample: Literal["random", "first"] = "random"
    """Which ones these are where the held-out split has more. `random`: a sample, the same in every run whatever its
    seed. `first`: the first of the split, which may all be of one subset."""
    on_bad_step: Literal["stop", "skip"] = "stop"
    """What to do on a loss or gradient that is not finite: stop the run, or skip the update of parameters and
    optimizer. The ids of the step's pairs or documents are written to WORKDIR/bad_steps either way."""
    max_bad_steps: PositiveInt = 10
    """Number of skipped steps after which the run stops (on_bad_step skip only)."""
    spike_deviations: PositiveFloat = 8.0
    """A loss this many deviations above the median of the last 128 steps is logged as a spike."""
    compilation_cache: bool = True
    """Cache compiled programs in WORKDIR/compilation_cache, so that a restart does not compile again; not on CPUs.
    JAX_COMPILATION_CACHE_DIR, if it is set, takes the place of that folder, on CPUs too."""
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Seed of the initialization and of the shuffle."""
    track: Literal["trackio", "wandb"] | None = None
    """Experiment tracker that gets the settings and metrics.jsonl too, from process 0: trackio or Weights & Biases. A
    run that resumes goes on in the same tracked run. TensorBoard's files are written anyway."""
    track_project: str | None = None
    """Project of the tracker; by default codepmp_jax."""
    allow_config_change: bool = False
    """Resume although model, data, tokenizer or seed differ from the checkpoint's; its dimensions and data.num_streams
    may not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for path, value in (
            ("accumulation_steps", self.accumulation_steps),
            ("data.num_streams", self.data.num_streams),
        ):
            require(
                self.global_batch_rows % value == 0,
                path,
                value,
                f"must divide global_batch_rows ({self.global_batch_rows})",
                "pick a divisor",
            )
        for init, path, source in (
            ("pmp", "model.init_from", self.model.init_from),
            ("base", "model.base", self.model.base),
        ):
            require(
                self.init != init or source is not None,
                path,
                source,
                f"must be given with init {init}",
                f"add --{path.replace('_', '-')} with a folder, a hub name or a training run",
            )
        require(
            self.eval_pairs == 0 or self.eval_pairs >= len(self.data.sources),
            "eval_pairs",
            self.eval_pairs,
            f"must be at least the number of sources of data.mixture ({len(self.data.sources)}), each of which is "
            "evaluated",
            "raise it, or give 0",
        )
        self.loss.require_batch(self.data, self.global_batch_rows)
