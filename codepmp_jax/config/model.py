"""The model."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from codepmp_jax.cli.errors import require, require_name
from codepmp_jax.config.base import Config, require_positive
from codepmp_jax.families import FAMILIES, OPTIONAL_SETTINGS

# The names are shown as the choices of a Literal are; a wrong one is answered with the nearest.
FamilyName = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(FAMILIES)}}}")]
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
class RopeScalingConfig(Config):
    """Rotary wavelengths stretched for longer texts, as Llama 3.1 does (`llama3` at Hugging Face).

    Wavelengths above original_length / low_freq_factor are multiplied by factor, those below original_length /
    high_freq_factor stay, and the frequencies between go over smoothly.
    """

    factor: float = 1.0
    """How much the longest wavelengths are stretched; 1 leaves all as they are."""
    low_freq_factor: float = 1.0
    """Wavelengths that fit the original length less often than this are stretched in full."""
    high_freq_factor: float = 4.0
    """Wavelengths that fit the original length more often than this stay."""
    original_length: int = 8192
    """Tokens of the texts that the model saw before it was stretched."""

    def __post_init__(self) -> None:
        prefix = "model.rope_scaling."
        require_positive(prefix, self, "low_freq_factor", "original_length")
        require(
            self.factor >= 1,
            f"{prefix}factor",
            self.factor,
            "must be at least 1",
            "1 leaves all wavelengths as they are",
        )
        require(
            self.high_freq_factor > self.low_freq_factor,
            f"{prefix}high_freq_factor",
            self.high_freq_factor,
            f"must be above {prefix}low_freq_factor ({self.low_freq_factor})",
            "Llama 3.1 has 1 and 4",
        )


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """A decoder with an LM head and a score head. Dimensions of the model, not of the run."""

    family: FamilyName = "qwen2"
    """Which architecture; a file each in codepmp_jax/families."""
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
    rope_scaling: RopeScalingConfig = RopeScalingConfig()
    sliding_window: int | None = None
    """Tokens of a text, its own the last, that a query of a sliding layer sees; by default all before it. In
    mistral every layer slides, in gemma2 every other one."""
    attention_soft_cap: float | None = None
    """Bound c of the attention's scores, which become c * tanh(score / c); by default none (gemma2 only)."""
    logit_soft_cap: float | None = None
    """The same of the next-token logits; rewards have no bound (gemma2 only)."""
    query_scale: int | None = None
    """The attention's scores are divided by its square root; by default head_dim (gemma2 only)."""
    norm_epsilon: float = 1e-6
    """Added to the mean square in RMSNorm."""
    tie_embeddings: bool = False
    """The LM head is the embedding's transpose. The paper unties it, also where the base model ties it."""
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of activations and matmuls; parameters, softmax, rewards and losses stay float32."""
    attention: Literal["auto", "xla", "blocked", "splash", "pallas_gpu"] = "auto"
    """How attention is computed; `auto` takes the chip's own (codepmp_jax/devices/chips.py). `xla` holds all scores
    at once; `blocked` (CPU), `splash` (TPU) and `pallas_gpu` hold a block of them."""
    attention_block: int | None = None
    """Queries and keys of a block of scores; by default the chip's own."""
    remat: RematPolicy = "full"
    """What the backward pass keeps of a layer's activations, and what it so does not compute again: `full`
    keeps nothing; `save_attention` what attention put out; `save_qkv_attention` its inputs too;
    `save_mlp_attention` the MLP's hidden layer too; `dots_with_no_batch_dims` every matmul's output; `none`
    everything. `offload_qkv_attention` keeps as much as `save_qkv_attention`, in the host's memory."""
    heads: tuple[tuple[str, int], ...] = ()
    """NAME SIZE ...: heads beside the LM head and the score head, from hidden states to SIZE float32 numbers;
    the objective adds those it needs."""
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
            *(name for name in OPTIONAL_SETTINGS if getattr(self, name) is not None),
        )
        require_name("model.family", self.family, FAMILIES)
        for name, families in OPTIONAL_SETTINGS.items():
            require(
                getattr(self, name) is None or self.family in families,
                f"model.{name}",
                getattr(self, name),
                f"must be left out in the family {self.family}: it belongs to {' and '.join(families)}",
                "leave it out, or name that family",
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

    def effective_window(self, max_text: int) -> int | None:
        """The sliding window; None where texts of up to `max_text` tokens do not leave it."""
        window = self.sliding_window
        return None if window is None or window >= max_text else window
