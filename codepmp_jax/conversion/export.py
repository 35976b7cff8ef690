"""Converts a training run to a Hugging Face folder, or a LoRA run to a PEFT adapter.

The adapters of a LoRA run are merged into its model, unless they are what is written. The folder opens with AutoModelForSequenceClassification (same rewards) and AutoModelForCausalLM (same logits): it
holds `score.weight` and, unless embeddings are tied, `lm_head.weight`. The folder of a causal LM lacks the score
head.
"""

from __future__ import annotations

import logging
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import AdapterConfig, ConvertConfig, TrainConfig, presets
from codepmp_jax.conversion import adapters, model_card, tokenizer_files, weights
from codepmp_jax.conversion.hf_config import hf_config
from codepmp_jax.conversion.tensors import Tensor, write_file, write_tensors
from codepmp_jax.families import FAMILIES
from codepmp_jax.families.weights import Weight
from codepmp_jax.files import output, storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.models.preference import Params, abstract_params
from codepmp_jax.text import forms
from codepmp_jax.text.tokenization import Tokenizer

logger = logging.getLogger("codepmp_jax")

# Elements of a weight that are read at a time: 512 MiB of float32.
_BLOCK_ELEMENTS = 2**27


def _open_run(run: str, step: int | None) -> tuple[Checkpointer, int, TrainConfig]:
    checkpointer = Checkpointer(run)
    found = checkpointer.latest_step() if step is None else step
    config = presets.from_json(TrainConfig, checkpointer.restore_config(found), run)
    assert found is not None
    return checkpointer, found, config


def load_run(run: str, step: int | None) -> tuple[TrainConfig, int, Params]:
    """(config, step, parameters on one CPU device) of a run's checkpoint, by default the newest."""
    checkpointer, found, config = _open_run(run, step)
    _, shapes, _ = abstract_params(config.model, config.lora)
    device = SingleDeviceSharding(jax.devices("cpu")[0])
    abstract = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=device), shapes
    )
    return config, found, checkpointer.restore_params(abstract, found)


def _blocks(weight: Weight, array: Any, layer: int | None) -> Iterator[np.ndarray]:
    """The rows of a weight's (or one layer's) tensor at Hugging Face, up to _BLOCK_ELEMENTS at a time."""
    at = () if layer is None else (layer,)
    for index in weights.blocks(weight, array.shape[len(at) :], _BLOCK_ELEMENTS):
        yield weights.to_hf(weight, np.asarray(array[(*at, *index)]))


def plan_tensors(config: TrainConfig, params: Any, with_score: bool = True) -> list[Tensor]:
    """Every weight by Hugging Face's name, with or without the score head; reads nothing yet.

    `params` is a tree of arrays, in memory or stored (param_store).
    """
    tensors = []
    for weight in FAMILIES[config.model.family].weights:
        if config.model.tie_embeddings and weight.path.startswith("lm_head"):
            continue
        if weight.path.startswith("score") and not with_score:
            continue
        array = weights.leaf(params, weight.path)
        shape = tuple(array.shape)
        if weight.is_stacked:
            for layer in range(shape[0]):
                name = weight.name.format(layer=layer)
                blocks = _blocks(weight, array, layer)
                tensors.append(Tensor(name, weights.hf_shape(weight, shape[1:]), blocks))
        else:
            blocks = _blocks(weight, array, None)
            tensors.append(Tensor(weight.name, weights.hf_shape(weight, shape), blocks))
    return tensors


def hf_tensors(
    config: TrainConfig, params: Params, with_score: bool = True
) -> Iterator[tuple[str, np.ndarray]]:
    """(Hugging Face's name, whole float32 tensor) of every weight, with or without the score head."""
    for tensor in plan_tensors(config, params, with_score):
        yield tensor.name, np.concatenate(list(tensor.blocks))


def _shown(tensors: list[Tensor]) -> Iterator[Tensor]:
    """The same tensors, whose blocks advance a progress bar by their number of parameters."""
    total = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    bar = progress(total=total, desc="convert", unit="param", unit_scale=True)

    def counted(blocks: Any) -> Iterator[np.ndarray]:
        for block in blocks:
            yield block
            bar.update(block.size)
            if bar.n == total:
                bar.close()

    for tensor in tensors:
        yield tensor._replace(blocks=counted(tensor.blocks))


def form_of_run(
    convert: ConvertConfig, config: TrainConfig
) -> Literal["text", "conversation", "document"]:
    """What the folder's chat template is to write (see ConvertConfig.chat_template); `document`: nothing of training.

    Raises UserError if it is `auto` and the run was trained on both.
    """
    if convert.chat_template != "auto":
        return convert.chat_template
    form = forms.read_run(convert.run, config.data).form
    if form == "both":
        raise UserError(
            f"chat_template = 'auto': {convert.run} was trained on both texts and conversations. Remedy: give "
            "--chat-template text or --chat-template conversation."
        )
    return form


def require_local(path: str, value: str) -> pathlib.Path:
    """The folder to write. Raises UserError if it is in a bucket, which cannot rename a folder."""
    require(
        not storage.is_bucket(value),
        path,
        value,
        "must be a folder on a disk",
        "copy the finished folder to the bucket",
    )
    return pathlib.Path(value)


def _require_room(folder: pathlib.Path, num_params: int, dtype: str) -> None:
    need = num_params * (4 if dtype == "float32" else 2)
    room = storage.free_bytes(folder)
    require(
        room is None or need <= room,
        "output",
        str(folder),
        f"needs {need / 1e6:.0f} MB, but its disk has {(room or 0) / 1e6:.0f} MB left",
        "free some, or give a folder on another disk",
    )


Check = Callable[[pathlib.Path, TrainConfig, Callable[[], Params]], None]


def to_hf(convert: ConvertConfig, check: Check | None = None) -> pathlib.Path:
    """Writes the Hugging Face folder of a run, or with an AdapterConfig its PEFT adapter, whole or not at all; returns
    the folder.

    Holds a block of a weight in memory at a time, not the model. `check` is called with the written folder before
    it is renamed, the run's config and a function that loads its parameters, and may raise. Raises UserError if the
    run has no such checkpoint, or the folder exists and was not written by this function.
    """
    for name, value in (("run", convert.run), ("output", convert.output)):
        require(value != "", name, value, "must be given", f"add --{name} FOLDER")
    with output.beside(require_local("output", convert.output)) as folder:
        partial = folder.with_name(folder.name + ".partial")
        try:
            return _to_hf(convert, folder, partial, check)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _to_hf(
    convert: ConvertConfig, folder: pathlib.Path, partial: pathlib.Path, check: Check | None
) -> pathlib.Path:
    require(
        not folder.exists() or (folder / forms.MADE_BY).is_file(),
        "output",
        convert.output,
        "exists and is no folder that this command wrote",
        "give a new folder",
    )
    checkpointer, step, config = _open_run(convert.run, convert.step)
    _, shapes, _ = abstract_params(config.model, config.lora)
    params = checkpointer.open_params(shapes, step)
    tokenizer = Tokenizer.load(str(storage.to_path(convert.run) / "tokenizer"))
    form = form_of_run(convert, config)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with_score = convert.heads in ("both", "tokens") or (
        convert.heads == "auto" and config.loss.trains_rewards
    )
    if with_score and not config.loss.trains_rewards:
        logger.warning("%s: trained no rewards (%s)", convert.run, config.loss.summary)
    if config.model.heads:
        logger.warning(
            "%s: heads left out, as Hugging Face has no place for them: %s",
            convert.run,
            ", ".join(dict(config.model.heads)),
        )
    base = adapters.find_base(convert, config) if isinstance(convert, AdapterConfig) else None
    if base is None:
        tensors = plan_tensors(config, adapters.merged_view(params, config.lora), with_score)
        if convert.heads == "tokens":
            # A token classifier's head has a bias.
            tensors.append(Tensor("score.bias", (1,), iter([np.zeros(1, np.float32)])))
    else:
        tensors = adapters.plan_adapters(config, params, with_score)
    _require_room(partial, sum(int(np.prod(tensor.shape)) for tensor in tensors), convert.dtype)
    with storage.storage_errors(partial, "written"):
        if base is None:
            write_tensors(partial, list(_shown(tensors)), convert.dtype)
            entries = _hf_config(convert, config, tokenizer, with_score)
            write_json(partial / "config.json", entries)
        else:
            write_file(partial / adapters.TENSORS, list(_shown(tensors)), convert.dtype)
            entries = adapters.adapter_config(config, base, with_score)
            write_json(partial / adapters.CONFIG, entries)
    tokenizer_files.write(partial, tokenizer, config, form)
    facts: dict[str, Any] = {
        "run": convert.run,
        "step": step,
        "chat_template": form,
        "config": presets.to_json(config),
    }
    write_json(partial / forms.MADE_BY, facts)
    card = model_card.write(convert, config, step, form, with_score, base)
    (partial / "README.md").write_text(card, encoding="utf-8")
    if check is not None:
        check(partial, config, lambda: load_run(convert.run, step)[2])
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return folder


def _hf_config(
    convert: ConvertConfig, config: TrainConfig, tokenizer: Tokenizer, with_score: bool
) -> dict[str, Any]:
    hf = hf_config(config.model, config.data.max_length)
    if with_score:
        # One label of a regression: pipelines and vLLM then return the reward itself, not its sigmoid.
        hf |= {
            "num_labels": 1,
            "id2label": {"0": "reward"},
            "label2id": {"reward": 0},
            "problem_type": "regression",
        }
    (architecture,) = hf["architectures"]
    kind = "TokenClassification" if convert.heads == "tokens" else "CausalLM"
    if not with_score or convert.heads == "tokens":
        hf["architectures"] = [architecture.replace("SequenceClassification", kind)]
    bos = tokenizer.special_tokens.get("bos_token")
    return hf | {
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "bos_token_id": None if bos is None else tokenizer.backend.token_to_id(bos),
        "dtype": convert.dtype,
        "torch_dtype": convert.dtype,
    }
