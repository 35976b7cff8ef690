"""Converts a Hugging Face folder to a training run, from which each host restores its part of the parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pathlib
import shutil
from typing import Any

import numpy as np

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.checkpoint.param_store import Pieces
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CheckpointConfig, FromHfConfig, LoraConfig, TrainConfig, presets
from codepmp_jax.conversion.export import require_local
from codepmp_jax.conversion.load import Read, find_folder, is_run, open_folder, resolve
from codepmp_jax.conversion.weights import Index, leaf, nested
from codepmp_jax.devices import sharding
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_json
from codepmp_jax.models.preference import abstract_params
from codepmp_jax.text import forms
from codepmp_jax.text.tokenization import Tokenizer

# How the dim that mesh.fsdp shards is cut: for so many hosts, but into no pieces of a layer below these bytes.
_HOSTS = 64
LEAST_PIECE_BYTES = 2**20


def _shard(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> tuple[int, ...]:
    """The part of a parameter of these logical axes that one of up to _HOSTS hosts holds."""
    rules = [sharding.RULES[axis] if axis is not None else None for axis in axes]
    cut = [dim for dim, rule in enumerate(rules) if rule is not None and "fsdp" in rule]
    if not cut:
        return shape
    (dim,) = cut
    sizes = [size for size, axis in zip(shape, axes, strict=True) if axis != "layers"]
    num_bytes = 4 * math.prod(sizes)
    num = max(
        number
        for number in range(1, _HOSTS + 1)
        if shape[dim] % number == 0 and (number == 1 or num_bytes // number >= LEAST_PIECE_BYTES)
    )
    return (*shape[:dim], shape[dim] // num, *shape[dim + 1 :])


def _saved_config(folder: pathlib.Path) -> TrainConfig:
    """The config of the run that a folder was converted from; the defaults if it was not."""
    path = folder / forms.MADE_BY
    if not path.is_file():
        return TrainConfig()
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no config ({error!r}). Remedy: copy it again.") from error
    return presets.from_json(TrainConfig, saved, str(path))


def from_hf(convert: FromHfConfig) -> pathlib.Path:
    """Writes a training run with the folder's parameters as checkpoint 0, whole or not at all; returns it.

    The run has no optimizer state; start from it by `--model.init-from`. Holds a piece of a weight in memory at a
    time, not the model. Raises UserError if the folder is incomplete or of an unknown family, or the output exists.
    """
    for name, value in (("input", convert.input), ("output", convert.output)):
        require(value != "", name, value, "must be given", f"add --{name} FOLDER")
    with outputs.beside(require_local("output", convert.output)) as output:
        partial = output.with_name(output.name + ".partial")
        try:
            return _from_hf(convert, output, partial)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _from_hf(convert: FromHfConfig, output: pathlib.Path, partial: pathlib.Path) -> pathlib.Path:
    require(not output.exists(), "output", convert.output, "exists", "give a new folder")
    require(
        not is_run(convert.input),
        "input",
        convert.input,
        "is a training run already",
        "give it to --model.init-from as it is",
    )
    folder = find_folder(convert.input, "input")
    tokenizer = Tokenizer.load(str(folder))
    config = _saved_config(folder)
    model = dataclasses.replace(
        config.model,
        init_from=str(folder),
        heads=(),
        attention="auto",
        attention_block=None,
        tie_embeddings=convert.tie_embeddings,
        score_init_std=convert.score_init_std,
    )
    # What the run that the folder was converted from began as is past.
    config = dataclasses.replace(config, init=None, decay_from=None)
    config = resolve(dataclasses.replace(config, model=model))
    data = dataclasses.replace(config.data, tokenizer=str(output / "tokenizer"))
    # The folder of a LoRA run holds the merged model.
    config = dataclasses.replace(config, workdir=convert.output, data=data, lora=LoraConfig())
    require(
        tokenizer.vocab_size <= config.model.vocab_size,
        f"{folder}: vocab_size of config.json",
        config.model.vocab_size,
        f"must hold the tokenizer's {tokenizer.vocab_size} tokens",
        "take a tokenizer that belongs to the model",
    )
    _, shapes, axes = abstract_params(config.model)
    reads = open_folder(config.model, shapes, convert.seed)
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer.save(partial / "tokenizer")
    write_json(partial / "config.json", presets.to_json(config))
    form = forms.read_folder(folder, tokenizer)
    if form is not None:
        forms.write_form(partial, form)
    total = sum(int(np.prod(leaf(shapes, path).shape)) for path in reads)
    with (
        progress(total=total, desc="convert", unit="param", unit_scale=True) as bar,
        contextlib.closing(Checkpointer(str(partial), CheckpointConfig())) as checkpointer,
    ):

        def pieces(path: str, read: Read) -> Pieces:
            def shown(index: Index) -> np.ndarray:
                piece = read(index)
                bar.update(piece.size)
                return piece

            shape = tuple(leaf(shapes, path).shape)
            return Pieces(shape, shown, _shard(shape, leaf(axes, path)))

        params: Any = nested({path: pieces(path, read) for path, read in reads.items()})
        checkpointer.require_room(params)
        checkpointer.save(0, params, None, [], presets.to_json(config))
    partial.rename(output)
    return output
