"""A training run becomes a Hugging Face folder.

The folder opens with AutoModelForSequenceClassification (same rewards) and AutoModelForCausalLM (same
logits): it holds `score.weight` and, where it is a matrix of its own, `lm_head.weight`. A causal LM's
folder lacks the score head.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterator
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


def hf_tensors(
    config: TrainConfig, params: Params, with_score: bool = True
) -> Iterator[tuple[str, np.ndarray]]:
    """(Hugging Face's name, float32 tensor) of every weight, with or without the score head."""
    for weight in FAMILIES[config.model.family].WEIGHTS:
        if config.model.tie_embeddings and weight.path.startswith("lm_head"):
            continue
        if weight.path.startswith("score") and not with_score:
            continue
        array = np.asarray(leaf(params, weight.path))
        if weight.is_stacked:
            for layer in range(len(array)):
                yield weight.name.format(layer=layer), weight.to_hf(array[layer])
        else:
            yield weight.name, weight.to_hf(array)


def write_tensors(folder: pathlib.Path, tensors: Iterator[tuple[str, np.ndarray]]) -> None:
    """Writes safetensors of at most 5 GiB each, one at a time in memory, and their index if several."""
    contents: list[list[str]] = []
    pending: dict[str, np.ndarray] = {}
    size = total = 0

    def flush() -> None:
        save_file(pending, folder / f"{len(contents)}.partial", metadata={"format": "pt"})
        contents.append(list(pending))
        pending.clear()

    for name, tensor in tensors:
        if pending and size + tensor.nbytes > _MAX_SHARD_BYTES:
            flush()
            size = 0
        pending[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    number = len(contents)
    weight_map = {}
    for i, tensor_names in enumerate(contents):
        name = "model" if number == 1 else f"model-{i + 1:05d}-of-{number:05d}"
        (folder / f"{i}.partial").rename(folder / f"{name}.safetensors")
        weight_map |= dict.fromkeys(tensor_names, f"{name}.safetensors")
    if number > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)


Check = Callable[[pathlib.Path, TrainConfig, Params], None]


def to_hf(convert: ConvertConfig, check: Check | None = None) -> pathlib.Path:
    """Writes the Hugging Face folder of a run, whole or not at all; returns it.

    `check` sees the written folder before it gets its name, with the run's config and parameters, and
    may raise. Raises UserError where the run has no such checkpoint, or the folder exists and was not
    written by this function.
    """
    for name, value in (("run", convert.run), ("output", convert.output)):
        require(value != "", name, value, "must be given", f"add --{name} FOLDER")
    folder = pathlib.Path(convert.output)
    require(
        not folder.exists() or (folder / "codepmp_jax.json").is_file(),
        "output",
        convert.output,
        "exists and is no folder that this command wrote",
        "give a new folder",
    )
    config, step, params = load_run(convert.run, convert.step)
    tokenizer = Tokenizer.load(str(pathlib.Path(convert.run) / "tokenizer"))
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with_score = convert.heads == "both" or (convert.heads == "auto" and config.loss.rm_coef > 0)
    dtype = ml_dtypes.bfloat16 if convert.dtype == "bfloat16" else np.float32
    tensors = progress(hf_tensors(config, params, with_score), desc="convert", unit="tensor")
    write_tensors(partial, ((name, tensor.astype(dtype)) for name, tensor in tensors))
    hf = FAMILIES[config.model.family].hf_config(config.model, config.data.max_length)
    if with_score:
        hf |= {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    else:
        (architecture,) = hf["architectures"]
        hf["architectures"] = [architecture.replace("SequenceClassification", "CausalLM")]
    hf |= {
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
    if check is not None:
        check(partial, config, params)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return folder
