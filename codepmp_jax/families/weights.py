"""Rows of a weight table, and the rows that most families share."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Weight:
    """A row of a family's weight table, read in both directions."""

    path: str
    """Names in our parameters, joined by `/`; below `decoder/layers/` an array holds all layers, stacked on
    its first dim."""
    name: str
    """Hugging Face's name; `{layer}` stands for the layer's number."""
    is_kernel: bool = False
    """Whether it is (inputs, outputs...) here and (outputs, inputs) at Hugging Face; embeddings, biases and
    scales are only reshaped."""

    @property
    def is_stacked(self) -> bool:
        """Whether our array holds this weight of every layer."""
        return "{layer}" in self.name

    @property
    def module(self) -> str:
        """The name of the module at Hugging Face that holds the weight, such as `q_proj`."""
        return self.name.split(".")[-2]


def layer_weight(path: str, name: str, is_kernel: bool = False) -> Weight:
    """A weight that every layer has, by its path within a layer here and its name there."""
    return Weight(f"decoder/layers/{path}", f"model.layers.{{layer}}.{name}", is_kernel)


def _layer_kernel(path: str, name: str) -> Weight:
    return layer_weight(f"{path}/kernel", f"{name}.weight", is_kernel=True)


MATRICES = (
    Weight("decoder/embedding", "model.embed_tokens.weight"),
    _layer_kernel("attention/query", "self_attn.q_proj"),
    _layer_kernel("attention/key", "self_attn.k_proj"),
    _layer_kernel("attention/value", "self_attn.v_proj"),
    _layer_kernel("attention/output", "self_attn.o_proj"),
    _layer_kernel("mlp/gate", "mlp.gate_proj"),
    _layer_kernel("mlp/up", "mlp.up_proj"),
    _layer_kernel("mlp/down", "mlp.down_proj"),
    Weight("lm_head/kernel", "lm_head.weight", is_kernel=True),
    Weight("score/kernel", "score.weight", is_kernel=True),
)
LAYER_KERNELS = tuple(weight for weight in MATRICES if weight.is_stacked)
QKV_BIASES = (
    layer_weight("attention/query/bias", "self_attn.q_proj.bias"),
    layer_weight("attention/key/bias", "self_attn.k_proj.bias"),
    layer_weight("attention/value/bias", "self_attn.v_proj.bias"),
)
QK_NORMS = (
    layer_weight("attention/query_norm/scale", "self_attn.q_norm.weight"),
    layer_weight("attention/key_norm/scale", "self_attn.k_norm.weight"),
)
FINAL_NORM = Weight("decoder/norm/scale", "model.norm.weight")
NORMS = (
    layer_weight("attention_norm/scale", "input_layernorm.weight"),
    layer_weight("mlp_norm/scale", "post_attention_layernorm.weight"),
    FINAL_NORM,
)
