"""A training run becomes a Hugging Face folder.

The folder opens with AutoModelForSequenceClassification (same rewards) and AutoModelForCausalLM (same
logits): it holds `score.weight` and, where it is a matrix of its own, `lm_head.weight`.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import save_file

from codepmp_jax import presets
from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import ConvertConfig, TrainConfig
from codepmp_jax.conversion.families import FAMILIES
from codepmp_jax.conversion.weights import leaf
from codepmp_jax.errors import require
from codepmp_jax.models.preference import Params, abstract_params
from codepmp_jax.progress import progress
from codepmp_jax.shards import write_json
from codepmp_jax.tokenization import Tokenizer

_MAX_SHARD_BYTES = 5 * 2**30


def load_run(run: str, step: int | None) -> tuple[TrainConfig, int, Params]:
    """(config, step, parameters on one CPU device) of a run's checkpoint, the newest by default."""
    checkpointer = Checkpointer(run)
    found = checkpointer.latest_step() if step is None else step
    config = presets.from_json(TrainConfig, checkpointer.restore_config(found), run)
    _, shapes, _ = abstract_params(config.model)
    device = SingleDeviceSharding(jax.devices("cpu")[0])
    abstract = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=device), shapes
    )
    assert found is not None
    return config, found, checkpointer.restore_params(abstract, found)


def hf_tensors(config: TrainConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """(Hugging Face's name, float32 tensor) of every weight."""
    for weight in FAMILIES[config.model.family].WEIGHTS:
        if config.model.tie_embeddings and weight.path.startswith("lm_head"):
            continue
        array = np.asarray(leaf(params, weight.path))
        if weight.is_stacked:
            for layer in range(len(array)):
                yield weight.name.format(layer=layer), weight.to_hf(array[layer])
        else:
            yield weight.name, weight.to_hf(array)


def write_tensors(folder: pathlib.Path, tensors: Iterator[tuple[str, np.ndarray]]) -> None:
    """Writes safetensors of at most 5 GiB each, and their index where there are several."""
    files: list[dict[str, np.ndarray]] = [{}]
    size = total = 0
    for name, tensor in tensors:
        if size and size + tensor.nbytes > _MAX_SHARD_BYTES:
            files.append({})
            size = 0
        files[-1][name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    names = (
        ["model.safetensors"]
        if len(files) == 1
        else [f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))]
    )
    for name, file in zip(names, files, strict=True):
        save_file(file, folder / name, metadata={"format": "pt"})
    if len(files) > 1:
        weight_map = {
            tensor: name for name, file in zip(names, files, strict=True) for tensor in file
        }
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)


def to_hf(convert: ConvertConfig) -> pathlib.Path:
    """Writes the Hugging Face folder of a run, whole or not at all; returns it.

    Raises UserError where the run has no such checkpoint, or the folder exists and was not written by
    this function.
    """
    folder = pathlib.Path(convert.output)
    require(
        not folder.exists() or (folder / "codepmp_jax.json").is_file(),
        "output",
        convert.output,
        "exists and is no folder that this command wrote",
        "give a new folder",
    )
    config, step, params = load_run(convert.run, convert.step)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    dtype = ml_dtypes.bfloat16 if convert.dtype == "bfloat16" else np.float32
    tensors = progress(hf_tensors(config, params), desc="convert", unit="tensor")
    write_tensors(partial, ((name, tensor.astype(dtype)) for name, tensor in tensors))
    hf = FAMILIES[config.model.family].hf_config(config.model, config.data.max_length)
    hf |= {
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "bos_token_id": None,
        "dtype": convert.dtype,
        "torch_dtype": convert.dtype,
    }
    write_json(partial / "config.json", hf)
    tokenizer.save(partial)
    facts: dict[str, Any] = {"run": convert.run, "step": step, "config": presets.to_json(config)}
    write_json(partial / "codepmp_jax.json", facts)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return folder
