"""The model."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, MultipleOf

from codepmp_jax.cli.errors import require
from codepmp_jax.cli.names import require_name
from codepmp_jax.config.base import (
    Config,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Remedy,
)
from codepmp_jax.families import FAMILIES, OPTIONAL_SETTINGS

# The names are shown as the choices of a Literal are; a wrong one is answered with the nearest.
FamilyName = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(FAMILIES)}}}")]
RematPolicy = Literal[
    "full",
    "save_attention",
    "save_qkv_attention",
    "save_gate_attention",
    "save_mlp_attention",
    "offload_qkv_attention",
    "dots_with_no_batch_dims",
    "none",
]


@dataclasses.dataclass(frozen=True)
class RopeScalingConfig(Config, section="model.rope_scaling"):
    """Rotary wavelengths stretched for longer texts, as in Llama 3.1 (`llama3` at Hugging Face).

    Wavelengths above original_length / low_freq_factor are multiplied by factor, those below original_length /
    high_freq_factor stay, and the frequencies between are interpolated smoothly.
    """

    factor: Annotated[float, Ge(1), Remedy("1 leaves all wavelengths as they are")] = 1.0
    """Factor by which the longest wavelengths are stretched; 1 leaves all as they are."""
    low_freq_factor: PositiveFloat = 1.0
    """Wavelengths that fit into the original length fewer times than this are stretched in full."""
    high_freq_factor: float = 4.0
    """Wavelengths that fit into the original length more times than this stay as they are."""
    original_length: PositiveInt = 8192
    """Text length that the model was trained on before stretching, in tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.high_freq_factor > self.low_freq_factor,
            "model.rope_scaling.high_freq_factor",
            self.high_freq_factor,
            f"must be above model.rope_scaling.low_freq_factor ({self.low_freq_factor})",
            "Llama 3.1 has 1 and 4",
        )


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config, section="model"):
    """A decoder with an LM head and a score head."""

    family: FamilyName = "qwen2"
    """Architecture; each has a file in codepmp_jax/families."""
    vocab_size: PositiveInt = 4096
    """Rows of the embedding; at least the number of tokens of the tokenizer."""
    embed_dim: PositiveInt = 128
    """Width of the residual stream."""
    mlp_dim: PositiveInt = 512
    """Width of the MLP's hidden layer."""
    num_layers: PositiveInt = 4
    """Number of decoder layers."""
    num_heads: PositiveInt = 4
    """Number of query heads."""
    num_kv_heads: PositiveInt = 2
    """Number of key and value heads; each is shared by num_heads / num_kv_heads query heads."""
    head_dim: Annotated[
        int,
        Ge(2),
        MultipleOf(2),
        Remedy("give an even number: rotary embeddings rotate pairs of dimensions"),
    ] = 32
    """Width of a head; even."""
    rope_theta: PositiveFloat = 1_000_000.0
    """Base of the rotary embedding's wavelengths."""
    rope_scaling: RopeScalingConfig = RopeScalingConfig()
    sliding_window: PositiveInt | None = None
    """Number of latest tokens of a text, its own included, that a query of a sliding layer attends to; by default all.
    In mistral every layer slides, in gemma2 every other one (these two families only)."""
    attention_soft_cap: PositiveFloat | None = None
    """Bound c of the attention scores, which become c * tanh(score / c); by default none (gemma2 only)."""
    logit_soft_cap: PositiveFloat | None = None
    """The same bound for the next-token logits, not for rewards; by default none (gemma2 only)."""
    query_scale: PositiveInt | None = None
    """Attention scores are divided by the square root of this; by default head_dim (gemma2 only)."""
    norm_epsilon: PositiveFloat = 1e-6
    """Term added to the mean square in RMSNorm."""
    tie_embeddings: bool = False
    """Use the transposed embedding as the LM head. The paper unties them, even if the base model ties them."""
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of activations and matmuls; parameters, softmax, rewards and losses stay float32."""
    int8_forward: bool = False
    """Compute the layers' projections but for the MLP's last (query, key, value, output, gate, up) in int8 in the forward
    pass, with a scale for each token and each output. Gradients are computed in compute_dtype, as if nothing were
    rounded."""
    attention: Literal["auto", "xla", "blocked", "splash", "flash", "pallas_gpu"] = "auto"
    """Implementation of attention; `auto` uses the chip's own (codepmp_jax/devices/chips.py). `xla` holds all scores
    at once; `blocked` (CPU), `splash` and `flash` (TPU: JAX's kernels and our own) and `pallas_gpu` hold one block of
    them at a time."""
    attention_block: int | None = None
    """Queries per block of scores, and keys but in `flash`, which takes half as many; by default the chip's or the
    implementation's own."""
    remat: RematPolicy = "full"
    """Activations of a layer to keep for the backward pass; the rest is recomputed. `full` keeps nothing;
    `save_attention` attention's output; `save_qkv_attention` its inputs too; `save_gate_attention` the output of the
    MLP's gate too; `save_mlp_attention` that of its up-projection too; `dots_with_no_batch_dims` the output of every
    matmul; `none` everything. `offload_qkv_attention` keeps the same as `save_qkv_attention`, in the host's memory."""
    mlp_hidden: Literal["auto", "fused", "materialized"] = "auto"
    """How the MLP's hidden layer, activation(gate) * up, is computed: `fused` into the matmul that reads it, which
    computes it again for each of its tiles; or `materialized`, once and written to memory. `auto` is the chip's own."""
    heads: tuple[tuple[str, int], ...] = ()
    """Further heads as NAME SIZE ..., each from hidden states to SIZE float32 numbers. The objective adds those that it
    needs."""
    init_from: str | None = None
    """Hugging Face folder, hub name or training run to start from, with its tokenizer unless data.tokenizer names one;
    by default random initialization. Not read again where the workdir has a checkpoint that began with it."""
    base: str | None = None
    """The base model of a finetuning preset, which `--init base` starts from in place of init_from: a Hugging Face
    folder, hub name or training run."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of randomly initialized matrices."""
    score_init_std: Annotated[NonNegativeFloat, Remedy("0 starts every reward at 0")] = 0.0
    """Standard deviation of a new score head; 0 makes the first pair loss exactly ln 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def effective_window(self, max_text: int) -> int | None:
        """The sliding window; None where texts of up to `max_text` tokens do not leave it."""
        window = self.sliding_window
        return None if window is None or window >= max_text else window
