"""`--model.init-from`: a Hugging Face folder, a hub name or a training run becomes parameters."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from huggingface_hub import snapshot_download
from safetensors import safe_open

from codepmp_jax import presets
from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import ModelConfig, TrainConfig
from codepmp_jax.conversion.families import FAMILIES
from codepmp_jax.conversion.weights import Weight, leaf
from codepmp_jax.errors import UserError, require
from codepmp_jax.models.preference import Params
from codepmp_jax.progress import progress

logger = logging.getLogger("codepmp_jax")

_INDEX = "model.safetensors.index.json"


def _is_run(source: pathlib.Path) -> bool:
    return (source / "checkpoints").is_dir()


def _folder(source: str) -> pathlib.Path:
    """The local folder of `source`; a hub name is downloaded (config, tokenizer and safetensors)."""
    path = pathlib.Path(source)
    if path.is_dir():
        return path
    try:
        patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
        return pathlib.Path(snapshot_download(source, allow_patterns=patterns))
    except Exception as error:
        raise UserError(
            f"model.init_from = {source!r}: no such folder, and the hub does not have it ({error}). "
            "Remedy: give a Hugging Face folder, a hub name or a training run."
        ) from error


def resolve(config: TrainConfig) -> TrainConfig:
    """The config with the dimensions, and the tokenizer where none was named, of model.init_from."""
    if config.model.init_from is None:
        return config
    folder = _folder(config.model.init_from)
    if _is_run(folder):
        saved = presets.from_json(
            TrainConfig, Checkpointer(str(folder)).restore_config(), str(folder)
        )
        kept = ("compute_dtype", "remat", "init_from", "init_std", "score_init_std")
        model = dataclasses.replace(
            saved.model, **{name: getattr(config.model, name) for name in kept}
        )
        tokenizer = saved.data.tokenizer
    else:
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file. Remedy: give a Hugging Face folder or a training run."
            )
        try:
            hf = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}: not JSON ({error}). Remedy: copy the folder again."
            ) from error
        require(
            hf.get("model_type") in FAMILIES,
            f"{path}: model_type",
            hf.get("model_type"),
            f"must be one of {', '.join(FAMILIES)}",
            "take a model of a known family",
        )
        try:
            model = FAMILIES[hf["model_type"]].model_config(hf, config.model, str(path))
        except KeyError as error:
            raise UserError(
                f"{path}: lacks {error}. Remedy: take a complete config.json."
            ) from error
        model = dataclasses.replace(model, init_from=str(folder))
        tokenizer = str(folder) if (folder / "tokenizer.json").is_file() else "embedded"
    changed = [
        f"{path} {value!r}"
        for (path, value), (_, before) in zip(
            presets.flatten(model), presets.flatten(config.model), strict=True
        )
        if value != before and path != "init_from"
    ]
    if changed:
        logger.info("model as in %s: %s", folder, ", ".join(changed))
    if config.data.tokenizer == "embedded" and tokenizer != "embedded":
        logger.info("tokenizer of %s", folder)
        data = dataclasses.replace(config.data, tokenizer=tokenizer)
        config = dataclasses.replace(config, data=data)
    return dataclasses.replace(config, model=model)


class Tensors:
    """The tensors of a Hugging Face folder, by name; nothing is read before it is asked for."""

    def __init__(self, folder: pathlib.Path):
        """Reads the index. Raises UserError where the folder has no safetensors."""
        self.folder = folder
        if (folder / _INDEX).is_file():
            self._files = json.loads((folder / _INDEX).read_text())["weight_map"]
        elif (folder / "model.safetensors").is_file():
            with safe_open(folder / "model.safetensors", "numpy") as file:
                self._files = dict.fromkeys(file.keys(), "model.safetensors")
        else:
            raise UserError(
                f"{folder}: has neither {_INDEX} nor model.safetensors. Remedy: save the model with "
                "safe_serialization."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor in float32. Raises UserError where it is missing or not of `shape`."""
        if name not in self:
            raise UserError(
                f"{self.folder}: lacks the tensor {name!r}. Remedy: take a complete folder."
            )
        with safe_open(self.folder / self._files[name], "numpy") as file:
            tensor = file.get_tensor(name)
        require(
            tensor.shape == shape,
            f"{self.folder}: shape of {name}",
            tensor.shape,
            f"must be {shape} by config.json",
            "take a folder whose tensors fit its config.json",
        )
        return tensor.astype(np.float32)


def _read_weight(tensors: Tensors, weight: Weight, shape: tuple[int, ...]) -> np.ndarray:
    """Our whole array of a weight, all layers stacked."""
    if not weight.is_stacked:
        return weight.from_hf(tensors.read(weight.name, weight.hf_shape(shape)), shape)
    array = np.empty(shape, np.float32)
    for layer in range(shape[0]):
        name = weight.name.format(layer=layer)
        array[layer] = weight.from_hf(tensors.read(name, weight.hf_shape(shape[1:])), shape[1:])
    return array


def _place(array: np.ndarray, abstract: Any) -> jax.Array:
    return jax.make_array_from_callback(abstract.shape, abstract.sharding, lambda i: array[i])


def load_folder(config: ModelConfig, abstract: Params, seed: int) -> Params:
    """Parameters from the Hugging Face folder config.init_from, placed as `abstract` says.

    An LM head that the folder lacks starts as the embedding's transpose (the base model's own, where
    it ties them; arXiv 2410.02229); a score head that it lacks is drawn from N(0, score_init_std^2).
    Both are logged.
    """
    folder = pathlib.Path(str(config.init_from))
    tensors = Tensors(folder)
    hf = json.loads((folder / "config.json").read_text())
    require(
        not config.tie_embeddings or hf.get("tie_word_embeddings", "lm_head.weight" not in tensors),
        "model.tie_embeddings",
        config.tie_embeddings,
        f"would lose the LM head of {folder}, which is a matrix of its own",
        "leave it False",
    )
    table = [
        weight
        for weight in FAMILIES[config.family].WEIGHTS
        if not (config.tie_embeddings and weight.path.startswith("lm_head"))
    ]
    params: Params = {}
    for weight in progress(table, desc=f"load {folder.name}", unit="weight"):
        target = leaf(abstract, weight.path)
        if weight.path == "lm_head/kernel" and weight.name not in tensors:
            logger.info("%s has no LM head: it starts as the embedding", folder)
            array = tensors.read("model.embed_tokens.weight", target.shape[::-1]).T
        elif weight.path == "score/kernel" and weight.name not in tensors:
            std = config.score_init_std
            logger.info("%s has no score head: it starts from N(0, %g^2)", folder, std)
            array = std * np.random.default_rng(seed).standard_normal(target.shape, np.float32)
        else:
            array = _read_weight(tensors, weight, target.shape)
        *parents, name = weight.path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = _place(array, target)
    return params


def params_loader(config: TrainConfig) -> Callable[[Params], Params] | None:
    """What fills a new run's parameters from model.init_from of a resolved config; None for random."""
    source = config.model.init_from
    if source is None:
        return None
    if _is_run(pathlib.Path(source)):
        return lambda abstract: Checkpointer(source).restore_params(abstract)
    return lambda abstract: load_folder(config.model, abstract, config.seed)
