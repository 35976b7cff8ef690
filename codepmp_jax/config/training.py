"""Optimizer and run."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_fraction, require_positive
from codepmp_jax.config.checkpoint import CheckpointConfig
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.mesh import MeshConfig
from codepmp_jax.config.model import ModelConfig
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.config.operation import ProfileConfig, WatchdogConfig
from codepmp_jax.config.pmp import PmpConfig


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Config):
    """AdamW with clipping and a warmup schedule."""

    learning_rate: float = 1e-6
    """Peak learning rate."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """After the warmup: cosine to 0, or stable and then a cosine decay to 0 over decay_fraction."""
    warmup_fraction: float = 0.03
    """Share of the steps that warm up linearly from 0."""
    decay_fraction: float = 0.1
    """Share of the steps that decay (wsd only)."""
    weight_decay: float = 0.1
    """Decoupled weight decay, times the learning rate at each step."""
    weight_decay_mask: Literal["matrices", "all"] = "matrices"
    """Decay only matrices, or every parameter as in the paper's run."""
    beta1: float = 0.9
    """Decay of Adam's first moment."""
    beta2: float = 0.999
    """Decay of Adam's second moment."""
    first_moment_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype that Adam's first moment is kept in. The second stays float32: with beta2 = 0.999 a step changes
    it by less than bfloat16 resolves."""
    epsilon: float = 1e-8
    """Added to the root of the second moment."""
    clip_norm: float = 1.0
    """Largest global gradient norm."""

    def __post_init__(self) -> None:
        require_positive("optimizer.", self, "learning_rate", "epsilon", "clip_norm")
        require_fraction("optimizer.", self, "warmup_fraction", "decay_fraction")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimizer.{name}", value, "must lie in [0, 1)", "0.9, 0.999")
        require(
            self.weight_decay >= 0,
            "optimizer.weight_decay",
            self.weight_decay,
            "must not be negative",
            "0 turns it off",
        )
        require(
            self.schedule != "wsd" or self.warmup_fraction + self.decay_fraction <= 1,
            "optimizer.decay_fraction",
            self.decay_fraction,
            f"must leave room for the warmup ({self.warmup_fraction})",
            "lower decay_fraction or warmup_fraction",
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """One training run; `loss` chooses and sets its objective."""

    workdir: str = "runs/train"
    """Folder of the run, local or gs://: config.json, tokenizer/, metrics.jsonl, tensorboard/, checkpoints/,
    goodput.json."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loss: ObjectiveConfig = PmpConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    profile: ProfileConfig = ProfileConfig()
    global_batch_rows: int = 1024
    """Rows in one optimizer step, over all devices: pairs in the layout `padded`; in the others a row holds
    several pairs, and a step as many as fit."""
    accumulation_steps: int = 1
    """Parts that a step's batch is computed in, one after the other; changes memory, not the result."""
    compiler_options: tuple[str, ...] = ()
    """NAME=VALUE ...: XLA options added to the chip's own (codepmp_jax/devices/chips.py), or in their place."""
    num_steps: int | None = None
    """Optimizer steps; by default num_epochs of the data."""
    num_epochs: float = 1.0
    """Passes over the train split (if num_steps is not given); how many pairs a step takes is measured on
    the first ones."""
    log_every_steps: int = 10
    """Steps between two lines of the log; metrics.jsonl has every step."""
    eval_every_steps: int = 500
    """Steps between evaluations; the last step always has one."""
    eval_pairs: int = 1024
    """Held-out pairs evaluated on during training; 0 for none."""
    on_bad_step: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is not finite does: stop the run, or leave parameters and optimizer as they
    were. The ids of the step's pairs are written to WORKDIR/bad_steps either way."""
    max_bad_steps: int = 10
    """Skipped steps of a run after which it stops (on_bad_step skip only)."""
    spike_deviations: float = 8.0
    """A loss so many deviations above the median of the last 128 is told as a spike."""
    compilation_cache: bool = True
    """Keep compiled programs in WORKDIR/compilation_cache, so that a restart need not compile; not those of CPUs.
    Where JAX_COMPILATION_CACHE_DIR is set, all lie there."""
    seed: int = 0
    """Seed of the initialisation and of the shuffle."""
    allow_config_change: bool = False
    """Resume although model, data or seed differ from the checkpoint's."""

    def __post_init__(self) -> None:
        for path, value in (("workdir", self.workdir), ("data.input", self.data.input)):
            require(
                "://" not in value or value.startswith("gs://"),
                path,
                value,
                "must be a path or gs://",
                "mount the bucket and give the path",
            )
        require(0 <= self.seed < 2**32, "seed", self.seed, "must lie in [0, 2^32)", "try 0")
        require(
            math.isfinite(self.num_epochs), "num_epochs", self.num_epochs, "must be finite", "try 1"
        )
        require_positive(
            "",
            self,
            *("global_batch_rows", "accumulation_steps", "num_epochs"),
            *("log_every_steps", "eval_every_steps", "max_bad_steps", "spike_deviations"),
        )
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
        for option in self.compiler_options:
            require(
                re.fullmatch(r"xla_\w+=\S+", option) is not None,
                "compiler_options",
                option,
                "must be NAME=VALUE, where the name begins with xla_",
                "e.g. xla_enable_async_all_gather=true",
            )
        require(
            self.num_steps is None or self.num_steps > 0,
            "num_steps",
            self.num_steps,
            "must be positive",
            "leave it out to train for num_epochs",
        )
        require(
            self.eval_pairs >= 0, "eval_pairs", self.eval_pairs, "must not be negative", "0 is none"
        )
        self.loss.require_batch(self.data, self.global_batch_rows)
