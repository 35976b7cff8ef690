"""The model."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.config.base import Config, require_positive
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
