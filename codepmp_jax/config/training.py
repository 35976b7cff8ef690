"""Model, data, losses, optimizer and run."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

from codepmp_jax.config.base import Config, require_fraction, require_positive
from codepmp_jax.errors import require

RematPolicy = Literal[
    "full",
    "save_attention",
    "save_qkv_attention",
    "save_mlp_attention",
    "offload_qkv_attention",
    "dots_with_no_batch_dims",
    "none",
]


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
    attention: Literal["auto", "xla", "blocked", "splash", "pallas_gpu"] = "auto"
    """How attention is computed; `auto` takes the chip's own (codepmp_jax/chips.py). `xla` holds all scores
    at once; `blocked` (CPU), `splash` (TPU) and `pallas_gpu` hold a block of them."""
    attention_block: int | None = None
    """Queries and keys of a block of scores; by default the chip's own."""
    remat: RematPolicy = "full"
    """What the backward pass keeps of a layer's activations, and what it so does not compute again: `full`
    keeps nothing; `save_attention` what attention put out; `save_qkv_attention` its inputs too;
    `save_mlp_attention` the MLP's hidden layer too; `dots_with_no_batch_dims` every matmul's output; `none`
    everything. `offload_qkv_attention` keeps as much as `save_qkv_attention`, in the host's memory."""
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
    layout: Literal["padded", "packed", "shared"] = "padded"
    """What a row of the batch is. `padded`: a pair, its two texts padded to max_length each, as in the
    paper. `packed`: as many pairs as fit, one text after the other. `shared`: as many pairs as fit, the
    tokens that both texts begin with only once, then the rest of chosen, then the rest of rejected."""
    max_length: int = 1024
    """Tokens a text, prompt and response together."""
    row_length: int | None = None
    """Tokens a row of the layouts `packed` and `shared`; by default 2 * max_length, which holds any pair."""
    length_policy: Literal["drop", "truncate"] = "drop"
    """What becomes of a pair that is too long, because a text is over max_length or because the pair does
    not fit a row: dropped, or cut on the right (to max_length as in the paper; to half a row)."""
    packing_window: int = 64
    """Pairs that wait to be packed. The oldest goes into the next row, with those of the others that leave
    least of it empty."""
    padding_side: Literal["right", "left"] = "right"
    """Side of a text that is filled up to max_length (layout `padded`)."""
    response_window: Literal["offsets", "paper"] = "offsets"
    """Where LM labels begin: at the response's first token by character offsets, or counted from the
    right by the response's own token count, as the authors' code does."""
    append_eos: bool = False
    """End every response with the tokenizer's EOS."""
    shuffle: bool = True
    """Shuffle each epoch with `seed`; without it pairs come in file order."""
    num_streams: int = 1
    """Parts that the order of pairs is dealt into, pair by pair; each is packed on its own and gives equally
    many rows of every batch. The number of hosts must divide it, and then does not change the batches."""
    num_workers: int = 0
    """Processes a host that tokenize and pack: as many, up to this, as divide the host's streams; 0 does so in
    threads of the trainer."""
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
            self.row_length is None or self.layout != "padded",
            "data.row_length",
            self.row_length,
            "must not be given with the layout padded, whose rows hold 2 * max_length tokens",
            "leave it out, or set data.layout to packed or shared",
        )
        require(
            self.row_length is None or self.row_length >= 4,
            "data.row_length",
            self.row_length,
            "must be at least 4",
            "2 * data.max_length holds any pair",
        )
        require(
            self.layout == "padded" or self.padding_side == "right",
            "data.padding_side",
            self.padding_side,
            f"must be right with the layout {self.layout}, which fills rows from the left",
            "leave it out",
        )
        require_positive("data.", self, "num_streams", "packing_window")
        require(
            self.num_workers >= 0,
            "data.num_workers",
            self.num_workers,
            "must not be negative",
            "0 tokenizes in the trainer's own process",
        )

    @property
    def row_tokens(self) -> int:
        """Tokens of a row of the batch."""
        return self.row_length or 2 * self.max_length

    @property
    def sequence_length(self) -> int:
        """Tokens of a sequence that attention runs over: half a padded row, all of a packed one."""
        return self.max_length if self.layout == "padded" else self.row_tokens

    @property
    def row_pairs(self) -> int:
        """Places for pairs in a row."""
        return 1 if self.layout == "padded" else max(1, self.row_tokens // 32)

    @property
    def row_labels(self) -> int:
        """Places for LM labels in a row: enough for any one pair, and for half a row."""
        return max(min(self.max_length, self.row_tokens), self.row_tokens // 2)


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
    lm_micro_batch_pairs consecutive pairs (layout `padded` only)."""
    lm_micro_batch_pairs: int = 4
    """Pairs in one of the paper's micro batches (micro_batch_mean only)."""
    lm_chunk_tokens: int = 1024
    """Tokens of a chip whose logits exist at a time; with fewer, reading the LM head keeps it waiting."""

    def __post_init__(self) -> None:
        require_positive("loss.", self, "lm_micro_batch_pairs", "lm_chunk_tokens")
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
    global_batch_rows: int = 1024
    """Rows in one optimizer step, over all devices: pairs in the layout `padded`; in the others a row holds
    several pairs, and a step as many as fit."""
    accumulation_steps: int = 1
    """Parts that a step's batch is computed in, one after the other; changes memory, not the result."""
    compiler_options: tuple[str, ...] = ()
    """NAME=VALUE ...: XLA options added to the chip's own (codepmp_jax/chips.py), or in their place."""
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
            *("global_batch_rows", "accumulation_steps", "num_epochs"),
            *("log_every_steps", "eval_every_steps"),
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
        if self.loss.lm_reduction == "micro_batch_mean":
            require(
                self.data.layout == "padded",
                "loss.lm_reduction",
                self.loss.lm_reduction,
                f"must be token_mean with data.layout {self.data.layout}: micro batches are of padded rows",
                "set data.layout to padded",
            )
            require(
                self.global_batch_rows % self.loss.lm_micro_batch_pairs == 0,
                "loss.lm_micro_batch_pairs",
                self.loss.lm_micro_batch_pairs,
                f"must divide global_batch_rows ({self.global_batch_rows})",
                "pick a divisor; the paper uses 4",
            )
