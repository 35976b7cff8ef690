"""A LoRA run's adapters: merged into the model, or as PEFT saves them, with the score head.

A PEFT adapter (https://huggingface.co/docs/peft/developer_guides/checkpoint) holds the matrices A and B of every target,
and in full the modules of `modules_to_save`: here the score head. Without that entry peft saves no head and puts a
random one over the adapter when it is loaded (huggingface/peft issues 310 and 577).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.config import AdapterConfig, LoraConfig, TrainConfig
from codepmp_jax.conversion import weights
from codepmp_jax.conversion.load import hub_name, is_run
from codepmp_jax.conversion.tensors import Tensor
from codepmp_jax.families import FAMILIES
from codepmp_jax.families.weights import LAYER_KERNELS, Weight
from codepmp_jax.files import storage
from codepmp_jax.models.lora import adapted

TENSORS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_PREFIX = "base_model.model."


class _MergedKernel:
    """W + A @ B * scale of all layers in float32, of which is computed what gets indexed."""

    def __init__(self, kernel: Any, adapter: dict[str, Any], scale: float):
        self._kernel, self._a, self._b, self._scale = kernel, adapter["a"], adapter["b"], scale
        self.shape = tuple(kernel.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The part of one layer; the index begins with its number."""
        layer, inputs, *outputs = index
        kernel = np.asarray(self._kernel[index], np.float32)
        a = np.asarray(self._a[layer, inputs], np.float32)
        b = np.asarray(self._b[(layer, slice(None), *outputs)], np.float32)
        return kernel + (a @ b.reshape(len(b), -1) * np.float32(self._scale)).reshape(kernel.shape)


def merged_view(params: Any, lora: LoraConfig) -> Any:
    """The parameters of a run, in memory or stored, as those of the model without adapters that computes the same."""
    if not lora.is_on:
        return params
    return adapted(params, lambda kernel, adapter: _MergedKernel(kernel, adapter, lora.scale))


def find_base(convert: AdapterConfig, config: TrainConfig) -> str:
    """The Hugging Face folder or hub name of the model under the adapters.

    Raises UserError where the run has no adapters, or began with a training run, which peft cannot open.
    """
    require(
        config.lora.is_on,
        f"{convert.run}: lora.rank",
        config.lora.rank,
        "must be above 0: the run has no adapters",
        "write the whole model with codepmp convert to-hf",
    )
    source = convert.base or str(config.model.init_from)
    require(
        not storage.is_bucket(source) and not is_run(source),
        "base" if convert.base else f"{convert.run}: model.init_from",
        source,
        "is a training run, which peft cannot open as the model under the adapters",
        f"give --base FOLDER, written by codepmp convert to-hf --run {source} --output FOLDER",
    )
    if convert.base is None and (name := hub_name(source)) is not None:
        return name
    path = pathlib.Path(source)
    return str(path.resolve()) if path.is_dir() else source


def plan_adapters(config: TrainConfig, params: Any, with_score: bool) -> list[Tensor]:
    """A and B of every target in every layer by PEFT's names, and the score head; reads nothing yet."""

    def tensor(name: str, weight: Weight, array: Any, layer: int | None) -> Tensor:
        def blocks() -> Iterator[np.ndarray]:
            part = array[...] if layer is None else array[layer]
            yield weights.to_hf(weight, np.asarray(part, np.float32))

        shape = tuple(array.shape) if layer is None else tuple(array.shape[1:])
        return Tensor(f"{_PREFIX}{name}.weight", weights.hf_shape(weight, shape), blocks())

    tensors = []
    for weight in LAYER_KERNELS:
        if weight.module not in config.lora.modules:
            continue
        adapter = weights.leaf(params, weight.path.removesuffix("/kernel"))["lora"]
        for layer in range(adapter["a"].shape[0]):
            module = weight.name.format(layer=layer).removesuffix(".weight")
            tensors.append(tensor(f"{module}.lora_A", weight, adapter["a"], layer))
            tensors.append(tensor(f"{module}.lora_B", weight, adapter["b"], layer))
    if with_score:
        (score,) = (
            weight
            for weight in FAMILIES[config.model.family].weights
            if weight.path == "score/kernel"
        )
        tensors.append(tensor("score", score, weights.leaf(params, score.path), None))
    return tensors


def adapter_config(config: TrainConfig, base: str, with_score: bool) -> dict[str, Any]:
    """The entries of adapter_config.json."""
    lora = config.lora
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if with_score else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "use_rslora": lora.rslora,
        "target_modules": list(lora.modules),
        "modules_to_save": ["score"] if with_score else None,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
