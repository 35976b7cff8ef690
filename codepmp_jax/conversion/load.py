"""What a run starts from: loads parameters from a Hugging Face folder, a hub name or a training run.

It is model.init_from, or with `--init base` model.base, which then takes its place. `--init pmp` refuses a model without
a score head; `--init base` gives it a new one.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from huggingface_hub import snapshot_download
from jax.sharding import NamedSharding, PartitionSpec

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.checkpoint.newest import newest_config
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ModelConfig, TrainConfig, presets
from codepmp_jax.conversion import weights
from codepmp_jax.conversion.hf_config import model_config
from codepmp_jax.conversion.tensors import Tensors
from codepmp_jax.conversion.weights import Index, bounded, leaf, nested
from codepmp_jax.devices.together import together
from codepmp_jax.families import FAMILIES, read_hf_config
from codepmp_jax.families.weights import Weight
from codepmp_jax.files import hub, storage
from codepmp_jax.models.lora import merged, only_adapters
from codepmp_jax.models.preference import Params, abstract_params, with_changed

logger = logging.getLogger("codepmp_jax")

# Settings of a model that say how to compute and initialize it, not what it is.
_KEPT = (
    "compute_dtype",
    "int8_forward",
    "remat",
    "attention",
    "attention_block",
    "mlp_hidden",
    "init_from",
    "base",
    "init_std",
    "score_init_std",
)

_SCORE = "score.weight"

Read = Callable[[Index], np.ndarray]
"""Reads the part of a parameter at an index (start and stop of every dim), in float32."""


def is_run(source: str) -> bool:
    """Whether `source` is the folder of a training run, on a disk or in a bucket. Raises StoreError where it cannot be
    read."""
    with storage.storage_errors(source, "read"):
        return (storage.to_path(source) / "checkpoints").is_dir()


def find_folder(
    source: str, setting: str = "model.init_from", with_tensors: bool = True
) -> pathlib.Path:
    """The local folder of `source`; a hub name is downloaded (config, tokenizer and safetensors), file by file by one
    process of a machine at a time.

    Without tensors those of a hub name are left there. Raises UserError naming the setting if there is no such folder,
    StoreError if the hub does not answer.
    """
    require(
        not storage.is_bucket(source),
        setting,
        source,
        "must be a training run; a Hugging Face folder is read from a disk only",
        "copy the folder, or convert it to a run (launch/convert.py from-hf) and copy that to the bucket",
    )
    path = pathlib.Path(source)
    if path.is_dir():
        return path
    patterns = ["*.json", "*.jinja", "*.txt", *(["*.safetensors"] if with_tensors else [])]
    return pathlib.Path(
        hub.fetch(
            lambda: snapshot_download(source, allow_patterns=patterns),
            f"{setting} = {source!r}",
            "give a Hugging Face folder, a hub name or a training run",
        )
    )


def hub_name(folder: str) -> str | None:
    """The hub name of a folder in the hub's own cache; None for another folder."""
    for part in pathlib.Path(folder).parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return None


def _like(model: ModelConfig, asked: ModelConfig, **changes: Any) -> ModelConfig:
    """`model`, computed and initialized as asked."""
    kept = {name: getattr(asked, name) for name in _KEPT}
    return dataclasses.replace(model, **kept | changes)


def _resumed(config: TrainConfig, saved: TrainConfig) -> TrainConfig | None:
    """The config with what the newest checkpoint in the workdir, of the settings `saved`, has of model.init_from; None
    where it started from another source."""
    source, before = config.model.init_from, saved.model.init_from
    if source is None or before is None:
        return None
    if pathlib.Path(source) not in (pathlib.Path(before), pathlib.Path(hub_name(before) or before)):
        return None
    logger.info("model as in the checkpoint of %s, which began with %s", config.workdir, source)
    model, data = _like(saved.model, config.model, init_from=before), config.data
    if data.tokenizer == "embedded":
        data = dataclasses.replace(data, tokenizer=saved.data.tokenizer)
    return dataclasses.replace(config, model=model, data=data)


def resolve(config: TrainConfig) -> TrainConfig:
    """The config with the dimensions of model.init_from, and its tokenizer if the config names none.

    A run's tokenizer is the one in its own folder, wherever that came from. Attention and its block stay as asked:
    those of another run may be of another chip. Where the workdir has a checkpoint that began with the same source,
    the checkpoint says it all, and neither the source nor the hub is asked. All hosts must call it: where one does not
    find the source, or the hub does not answer it, all raise that host's UserError (StoreError).
    """
    if config.decay_from is not None:
        # It starts from a checkpoint, whose settings it has.
        return config
    if config.init == "base":
        model = dataclasses.replace(config.model, init_from=config.model.base)
        config = dataclasses.replace(config, model=model)
    source = config.model.init_from
    if source is None:
        return config
    value = newest_config(config.workdir)
    if value is not None:
        resumed = _resumed(config, presets.from_json(TrainConfig, value, config.workdir))
        if resumed is not None:
            return resumed
    # A run is read by all hosts, which wait for one another.
    are_runs = together(lambda: is_run(source))
    if len({*are_runs}) > 1:
        raise UserError(
            f"model.init_from = {source!r}: is a run on host {are_runs.index(True)}, and none on host "
            f"{are_runs.index(False)}. Remedy: give a folder that all hosts share, or gs://."
        )
    if are_runs[0]:
        saved = presets.from_json(TrainConfig, Checkpointer(source).restore_config(), source)
        if config.init == "pmp":
            _require_score(source, has_trained_score(source), "was not trained for rewards")
        model = _like(saved.model, config.model)
        tokenizer = f"{source.rstrip('/')}/tokenizer"
    else:
        setting = "model.base" if config.init == "base" else "model.init_from"
        # With a checkpoint, no parameter is taken from there.
        is_new = value is None
        folders = together(lambda: str(find_folder(source, setting, with_tensors=is_new)))
        folder = pathlib.Path(folders[jax.process_index()])
        if config.init == "pmp" and is_new:
            _require_score(source, _SCORE in Tensors(folder), "has no score head")
        hf = read_hf_config(folder)
        model = model_config(hf, config.model, str(folder / "config.json"))
        model = dataclasses.replace(model, init_from=str(folder))
        tokenizer = str(folder)
    changed = [
        f"{path} {value!r}"
        for (path, value), (_, before) in zip(
            presets.flatten(model), presets.flatten(config.model), strict=True
        )
        if value != before and path != "init_from"
    ]
    if changed:
        logger.info("model as in %s: %s", source, ", ".join(changed))
    if config.data.tokenizer == "embedded":
        logger.info("tokenizer of %s", source)
        data = dataclasses.replace(config.data, tokenizer=tokenizer)
        config = dataclasses.replace(config, data=data)
    return dataclasses.replace(config, model=model)


def _require_score(source: str, has_one: bool, otherwise: str) -> None:
    require(
        has_one,
        "model.init_from",
        source,
        f"must be a reward model with init pmp, but {otherwise}",
        "name a PMP run, or a folder converted from one; or give --init base --model.base "
        f"{source}, which draws a new head",
    )


def _read_stacked(tensors: Tensors, weight: Weight, shape: tuple[int, ...], index: Index) -> Any:
    """A part of the parameter that stacks a weight of all layers."""
    layers, *part = index
    array = np.empty([each.stop - each.start for each in index], np.float32)
    for i, layer in enumerate(range(layers.start, layers.stop)):
        read = functools.partial(tensors.read, weight.name.format(layer=layer))
        array[i] = weights.read_part(weight, read, tuple(part), shape[1:])
    return array


def _read_single(tensors: Tensors, weight: Weight, shape: tuple[int, ...], index: Index) -> Any:
    """A part of the parameter of a weight outside the layers."""
    read = functools.partial(tensors.read, weight.name)
    return weights.read_part(weight, read, index, shape)


def _new_score(config: ModelConfig, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A score head from N(0, score_init_std^2)."""
    head = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return np.float32(config.score_init_std) * head


def open_folder(
    config: ModelConfig, shapes: Params, seed: int, new_score: bool = False
) -> dict[str, Read]:
    """How to read each parameter of a model from the Hugging Face folder config.init_from, by path.

    If the folder lacks an LM head, it starts as the embedding's transpose (which is the base model's, if tied;
    arXiv 2410.02229); if it lacks a score head, or with `new_score`, that is drawn from N(0, score_init_std^2). Both
    are logged, as are tensors that the model does not use. Raises UserError if another tensor is missing or its shape contradicts
    config.json, before any is read.
    """
    folder = pathlib.Path(str(config.init_from))
    tensors = Tensors(folder)
    hf = read_hf_config(folder)
    require(
        not config.tie_embeddings or hf.get("tie_word_embeddings", "lm_head.weight" not in tensors),
        "model.tie_embeddings",
        config.tie_embeddings,
        f"would lose the LM head of {folder}, which is a matrix of its own",
        "leave it False",
    )
    reads: dict[str, Read] = {}
    used = {"lm_head.weight"}
    for weight in FAMILIES[config.family].weights:
        if config.tie_embeddings and weight.path.startswith("lm_head"):
            continue
        shape = tuple(leaf(shapes, weight.path).shape)
        if weight.path == "lm_head/kernel" and weight.name not in tensors:
            logger.info("%s has no LM head: it starts as the embedding", folder)
            name = "model.embed_tokens.weight"
            tensors.check(name, shape[::-1])
            reads[weight.path] = lambda index, name=name: tensors.read(name, index[::-1]).T
        elif weight.path == "score/kernel" and (new_score or weight.name not in tensors):
            has = "'s score head is not taken" if weight.name in tensors else " has no score head"
            logger.info("%s%s: it starts from N(0, %g^2)", folder, has, config.score_init_std)
            used.add(weight.name)
            reads[weight.path] = _new_score(config, shape, seed).__getitem__
        elif weight.is_stacked:
            names = [weight.name.format(layer=layer) for layer in range(shape[0])]
            for name in names:
                tensors.check(name, weights.hf_shape(weight, shape[1:]))
            used.update(names)
            reads[weight.path] = functools.partial(_read_stacked, tensors, weight, shape)
        else:
            tensors.check(weight.name, weights.hf_shape(weight, shape))
            used.add(weight.name)
            reads[weight.path] = functools.partial(_read_single, tensors, weight, shape)
            if weight.name == _SCORE:
                logger.info("the score head is that of %s", folder)
    unused = sorted(set(tensors) - used)
    if unused:
        logger.warning(
            "%s: %d tensors have no place in the model and are left out: %s",
            folder,
            len(unused),
            ", ".join(unused),
        )
    return reads


def load_folder(
    config: ModelConfig, abstract: Params, seed: int, new_score: bool = False
) -> Params:
    """Parameters from the Hugging Face folder config.init_from, placed as `abstract` says.

    A host reads only the parts that its devices hold (see open_folder).
    """
    reads = open_folder(config, abstract, seed, new_score)
    folder = pathlib.Path(str(config.init_from))
    arrays = {}
    for path, read in progress(reads.items(), desc=f"load {folder.name}", unit="weight"):
        target = leaf(abstract, path)
        # A part that several devices hold is read once.
        held: dict[Any, np.ndarray] = {}

        def part(index: Any, read=read, held=held, target=target) -> np.ndarray:
            bounds = bounded(index, target.shape)
            key = tuple((each.start, each.stop) for each in bounds)
            if key not in held:
                held[key] = read(bounds).astype(target.dtype, copy=False)
            return held[key]

        arrays[path] = jax.make_array_from_callback(target.shape, target.sharding, part)
    return nested(arrays)


def has_trained_score(source: str | None) -> bool:
    """Whether the score head of a run or folder was trained, by it or by one that it started from.

    Where one of them is not there any more, it is taken for trained.
    """
    if source is None:
        return False
    if is_run(source):
        saved = presets.from_json(TrainConfig, Checkpointer(source).restore_config(), source)
        return saved.loss.trains_rewards or has_trained_score(saved.model.init_from)
    if pathlib.Path(source).is_dir():
        return _SCORE in Tensors(pathlib.Path(source))
    logger.warning("%s is not there any more: its score head is taken for trained", source)
    return True


def _restore(run: str, config: ModelConfig, abstract: Params, seed: int, new_score: bool) -> Params:
    """The newest parameters of a run, adapters merged, without the heads of `abstract` that its model lacks; with
    `new_score`, or where nothing trained the run's own, with a score head from N(0, score_init_std^2)."""
    checkpointer = Checkpointer(run)
    saved = presets.from_json(TrainConfig, checkpointer.restore_config(), run)
    heads = {
        name: head
        for name, head in abstract.get("heads", {}).items()
        if name in dict(saved.model.heads)
    }
    params = _merged(
        checkpointer,
        saved,
        {name: tree for name, tree in abstract.items() if name != "heads"}
        | ({"heads": heads} if heads else {}),
    )
    new_score = new_score or not has_trained_score(run)
    if new_score:
        target = leaf(abstract, "score/kernel")
        head = _new_score(config, target.shape, seed)
        placed = jax.make_array_from_callback(target.shape, target.sharding, head.__getitem__)
        params["score"] = {"kernel": placed}
    std = config.score_init_std
    score = f"is new, from N(0, {std:g}^2)" if new_score else "is that of the run"
    logger.info(
        "starting from step %s of %s; the score head %s", checkpointer.latest_step(), run, score
    )
    return params


def _merged(checkpointer: Checkpointer, saved: TrainConfig, abstract: Params) -> Params:
    """The newest parameters of a run onto abstract ones without adapters: those that it has are merged."""
    if not saved.lora.is_on:
        return checkpointer.restore_params(abstract)
    # In float32, in which they are merged.
    exact = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32, sharding=leaf.sharding), abstract
    )
    adapters = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(
            shape.shape, shape.dtype, sharding=_replicated(abstract["score"]["kernel"].sharding)
        ),
        only_adapters(abstract_params(saved.model, saved.lora)[1]),
    )

    def merge(params: Params) -> Params:
        return jax.tree.map(
            lambda leaf, target: leaf.astype(target.dtype), merged(params, saved.lora), abstract
        )

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    restored = checkpointer.restore_params(with_changed(exact, adapters))
    logger.info("merging the adapters: %s", saved.lora.summary)
    return jax.jit(merge, out_shardings=shardings)(restored)


def _replicated(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """A sharding that has the whole array on each of the same devices."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding


def params_loader(config: TrainConfig) -> Callable[[Params], Params] | None:
    """Loads a new run's parameters from model.init_from of a resolved config; None if they are random.

    What it returns raises UserError where the score head, which `--init pmp` keeps, is zero: it was never trained.
    """
    model, seed, new_score = config.model, config.seed, config.init == "base"
    source = model.init_from
    if source is None:
        return None

    def load(abstract: Params) -> Params:
        if is_run(source):
            params = _restore(source, model, abstract, seed, new_score)
        else:
            params = load_folder(model, abstract, seed, new_score)
        if config.init == "pmp":
            is_trained = bool(jax.jit(jnp.any)(params["score"]["kernel"]))
            _require_score(source, is_trained, "its score head is zero")
        return params

    return load
