"""What families of models can differ in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from codepmp_jax.families.weights import Weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture: its traits, and the names of its weights and settings at Hugging Face."""

    name: str
    """The value of `model.family`, and Hugging Face's `model_type`."""

    # The forward pass.
    qkv_bias: bool = False
    """Whether the query, key and value projections have biases."""
    qk_norm: bool = False
    """Whether each head's query and key are normalised before they are rotated."""
    post_norms: bool = False
    """Whether the outputs of attention and MLP are normalised before they are added to the residual stream."""
    norm_offset: float = 0.0
    """Added to a norm's stored scale, which is initialised to 1 minus this."""
    activation: Literal["silu", "gelu_tanh"] = "silu"
    """Activation of the MLP's gate."""
    scale_embeddings: bool = False
    """Whether embeddings are multiplied by sqrt(D), rounded to the compute dtype."""
    sliding_layers: tuple[bool, ...] = (True,)
    """Which layers have the sliding window, if there is one; the pattern repeats over the layers."""

    # The settings.
    settings: tuple[str, ...] = ()
    """Settings of ModelConfig that only some families have, and this one has. In others they must be left out."""

    # Hugging Face.
    architecture: str
    """Prefix of transformers' model classes, such as `Qwen2` of Qwen2ForCausalLM."""
    tokenizer_split: str | None = None
    """Regex by which transformers' tokenizer class of this family splits words after NFC, whatever tokenizer.json
    says; None if AutoTokenizer reads tokenizer.json whole."""
    weights: tuple[Weight, ...]
    """The weight table: every weight, by its name here and at Hugging Face."""
    fixed_entries: Mapping[str, Any]
    """Entries of config.json of which only this value is implemented."""
    to_hf: Callable[[Mapping[str, Any], int], dict[str, Any]]
    """(ModelConfig as a dict, most tokens of a text) -> entries of config.json."""
    from_hf: Callable[[Mapping[str, Any], str], dict[str, Any]]
    """(entries of config.json, that file's name for errors) -> settings of ModelConfig.

    Raises UserError for what is not implemented, and KeyError for an entry that is missing."""
