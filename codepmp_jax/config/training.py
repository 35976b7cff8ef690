"""Model, data, losses, optimizer and run."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from codepmp_jax.config.base import Config, require_fraction, require_positive
from codepmp_jax.errors import require


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """A decoder with an LM head and a score head. Dimensions of the model, not of the run."""

    family: Literal["qwen2"] = "qwen2"
    """Which architecture; the families are listed in codepmp_jax/models."""
    vocab_size: int = 4096
    """Rows of the embedding; at least the tokenizer's tokens."""
    embed_dim: int = 128
    """Width of the residual stream."""
    mlp_dim: int = 512
    """Width of the MLP's hidden layer."""
    num_layers: int = 4
    """Decoder layers."""
    num_heads: int = 4
    """Query heads."""
    num_kv_heads: int = 2
    """Key and value heads, each shared by num_heads / num_kv_heads query heads."""
    head_dim: int = 32
    """Width of a head."""
    rope_theta: float = 1_000_000.0
    """Base of the rotary embedding's wavelengths."""
    norm_epsilon: float = 1e-6
    """Added to the mean square in RMSNorm."""
    tie_embeddings: bool = False
    """The LM head is the embedding's transpose. The paper unties it, also where the base model ties it."""
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of activations and matmuls; parameters, softmax, rewards and losses stay float32."""
    remat: Literal["none", "full", "dots_with_no_batch_dims"] = "full"
    """What the backward pass recomputes per layer: nothing, everything, all but matmul outputs."""
    init_from: str | None = None
    """Hugging Face folder or training run to start from; random initialisation if not given."""
    init_std: float = 0.02
    """Standard deviation of random matrices."""
    score_init_std: float = 0.0
    """Standard deviation of a new score head; 0 makes the first pair loss exactly ln 2."""

    def __post_init__(self) -> None:
        require_positive(
            "model.",
            self,
            *("vocab_size", "embed_dim", "mlp_dim", "num_layers", "num_heads", "num_kv_heads"),
            *("head_dim", "rope_theta", "norm_epsilon", "init_std"),
        )
        require(
            self.num_heads % self.num_kv_heads == 0,
            "model.num_kv_heads",
            self.num_kv_heads,
            f"must divide model.num_heads ({self.num_heads})",
            "grouped-query attention shares each kv head among equally many query heads",
        )
        require(
            self.head_dim % 2 == 0,
            "model.head_dim",
            self.head_dim,
            "must be even",
            "rotary embeddings turn pairs of dimensions",
        )
        require(
            self.score_init_std >= 0,
            "model.score_init_std",
            self.score_init_std,
            "must not be negative",
            "0 starts every reward at 0",
        )


@dataclasses.dataclass(frozen=True)
class DataConfig(Config):
    """Pair shards -> tokenized batches of static shape."""

    input: str = "runs/pairs"
    """Folder of pair shards; its `train` split is trained on, its `heldout` split evaluated on."""
    tokenizer: str = "embedded"
    """Folder or hub name of a tokenizer; `embedded` is the small code tokenizer in this package."""
    template: str = "Instruction:{prompt}\n\nResponse:{response}"
    """Text of a row; ends in {response}. Conversations use the tokenizer's chat template instead."""
    max_length: int = 1024
    """Tokens a row, prompt and response together."""
    length_policy: Literal["drop", "truncate"] = "drop"
    """What becomes of a pair with a row over max_length: dropped, or cut on the right as in the paper."""
    padding_side: Literal["right", "left"] = "right"
    """Side of a row that is filled up to max_length."""
    response_window: Literal["offsets", "paper"] = "offsets"
    """Where LM labels begin: at the response's first token by character offsets, or counted from the
    right by the response's own token count, as the authors' code does."""
    append_eos: bool = False
    """End every response with the tokenizer's EOS."""
    shuffle: bool = True
    """Shuffle each epoch with `seed`; without it pairs come in file order."""
    num_workers: int = 0
    """Tokenizer processes a host; 0 tokenizes in threads of the trainer."""
    verify_shards: bool = True
    """Compare every shard's sha256 with the manifest at start (sizes are always compared)."""

    def __post_init__(self) -> None:
        require(
            self.template.count("{prompt}") == 1
            and self.template.count("{response}") == 1
            and self.template.endswith("{response}"),
            "data.template",
            self.template,
            "must hold {prompt} once, then {response} once, at the very end",
            "e.g. 'Instruction:{prompt}\\n\\nResponse:{response}'",
        )
        require(
            self.max_length >= 2,
            "data.max_length",
            self.max_length,
            "must be at least 2",
            "the paper uses 1024",
        )
        require(
            self.num_workers >= 0,
            "data.num_workers",
            self.num_workers,
            "must not be negative",
            "0 tokenizes in the trainer's own process",
        )


@dataclasses.dataclass(frozen=True)
class LossConfig(Config):
    """loss = rm_coef * pair loss + lm_coef * LM loss + centering_coef * reward centring."""

    rm_coef: float = 1.0
    """Weight of the pair loss."""
    lm_coef: float = 1.0
    """Weight of the LM loss on the chosen responses; 0 for RM finetuning."""
    centering_coef: float = 0.0
    """Weight of mean((r_chosen + r_rejected)^2), which keeps rewards near 0."""
    lm_reduction: Literal["token_mean", "micro_batch_mean"] = "token_mean"
    """Mean over all response tokens of the global batch, or the paper's mean of the means of
    lm_micro_batch_pairs consecutive pairs."""
    lm_micro_batch_pairs: int = 4
    """Pairs in one of the paper's micro batches (micro_batch_mean only)."""
    lm_chunk: int = 256
    """Positions of a row whose logits exist at a time; times the chosen rows on a chip, at least 1024
    tokens keep the chip busy."""

    def __post_init__(self) -> None:
        require_positive("loss.", self, "lm_micro_batch_pairs", "lm_chunk")
        for name in ("rm_coef", "lm_coef", "centering_coef"):
            value = getattr(self, name)
            require(value >= 0, f"loss.{name}", value, "must not be negative", "0 turns it off")
        require(
            self.rm_coef + self.lm_coef > 0,
            "loss.rm_coef",
            self.rm_coef,
            "must not be 0 together with loss.lm_coef",
            "set one of the two above 0",
        )


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
class MeshConfig(Config):
    """Devices along each mesh axis; one of them may be -1, which takes what the others leave."""

    data: int = 1
    """Copies of the model (across slices)."""
    fsdp: int = -1
    """Devices that share one copy of the parameters."""
    tensor: int = 1
    """Devices that share each matmul."""

    def __post_init__(self) -> None:
        for name in ("data", "fsdp", "tensor"):
            value = getattr(self, name)
            require(
                value == -1 or value >= 1,
                f"mesh.{name}",
                value,
                "must be positive, or -1 for the rest",
                "give a number of devices",
            )
        require(
            [self.data, self.fsdp, self.tensor].count(-1) <= 1,
            "mesh",
            (self.data, self.fsdp, self.tensor),
            "only one axis can be -1",
            "give the sizes of the others",
        )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config):
    """When Orbax saves, and what it keeps."""

    every_steps: int = 500
    """Steps between checkpoints; the last step always has one."""
    keep: int = 3
    """Newest checkpoints kept."""

    def __post_init__(self) -> None:
        require_positive("checkpoint.", self, "every_steps", "keep")


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """One training run: PMP pretraining or RM finetuning."""

    workdir: str = "runs/train"
    """Folder of the run: config.json, tokenizer/, metrics.jsonl, tensorboard/, checkpoints/."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    global_batch_pairs: int = 1024
    """Pairs in one optimizer step, over all devices."""
    accumulation_steps: int = 1
    """Parts that a step's batch is computed in, one after the other; changes memory, not the result."""
    num_steps: int | None = None
    """Optimizer steps; by default num_epochs of the data."""
    num_epochs: float = 1.0
    """Passes over the train split (if num_steps is not given), dropped pairs counted as if they were kept."""
    log_every_steps: int = 10
    """Steps between two lines of the log; metrics.jsonl has every step."""
    eval_every_steps: int = 500
    """Steps between evaluations; the last step always has one."""
    eval_pairs: int = 1024
    """Held-out pairs evaluated on during training; 0 for none."""
    seed: int = 0
    """Seed of the initialisation and of the shuffle."""
    allow_config_change: bool = False
    """Resume although model, data or seed differ from the checkpoint's."""

    def __post_init__(self) -> None:
        for path, value in (("workdir", self.workdir), ("data.input", self.data.input)):
            require(
                "://" not in value,
                path,
                value,
                "must be a path on a file system",
                "mount the bucket (gcsfuse) and give the path",
            )
        require(0 <= self.seed < 2**32, "seed", self.seed, "must lie in [0, 2^32)", "try 0")
        require(
            math.isfinite(self.num_epochs), "num_epochs", self.num_epochs, "must be finite", "try 1"
        )
        require_positive(
            "",
            self,
            *("global_batch_pairs", "accumulation_steps", "num_epochs"),
            *("log_every_steps", "eval_every_steps"),
        )
        require(
            self.global_batch_pairs % self.accumulation_steps == 0,
            "accumulation_steps",
            self.accumulation_steps,
            f"must divide global_batch_pairs ({self.global_batch_pairs})",
            "pick a divisor",
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
        require(
            self.loss.lm_reduction == "token_mean"
            or self.global_batch_pairs % self.loss.lm_micro_batch_pairs == 0,
            "loss.lm_micro_batch_pairs",
            self.loss.lm_micro_batch_pairs,
            f"must divide global_batch_pairs ({self.global_batch_pairs})",
            "pick a divisor; the paper uses 4",
        )
