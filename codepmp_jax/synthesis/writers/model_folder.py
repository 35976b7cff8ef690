"""The Hugging Face folder of a language model that writes."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

from codepmp_jax.cli.errors import UserError, require

# Files of a model folder that are read whole for its fingerprint.
_SMALL = (
    "config.json",
    "generation_config.json",
    "codepmp_jax.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
# Bytes read at both ends of a file of weights.
_ENDS = 1 << 20


def folder_settings(model: str) -> dict[str, str]:
    """Name and fingerprint of a local folder, in the place of model and revision; nothing of a model on the hub.

    Raises UserError where the model is a path, but no folder of a causal LM.
    """
    folder = local_folder(model)
    if folder is None:
        return {}
    return {"model": folder.resolve().name, "revision": fingerprint(folder)}


def local_folder(model: str) -> pathlib.Path | None:
    """The folder of a causal LM that `model` names; None where it is a name on the Hugging Face hub.

    Raises UserError where it is a path without such a folder.
    """
    folder = pathlib.Path(model)
    if not folder.is_dir():
        is_path = model.count("/") > 1 or model.startswith((".", "/", "~")) or folder.exists()
        require(not is_path, "model", model, "no such folder", "give a Hugging Face folder")
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config.get("architectures") or []
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"model = {model!r}: has no readable config.json ({error}). Remedy: give a Hugging Face "
            "folder, as launch/convert.py writes it."
        ) from error
    for needed in (_WEIGHTS, ("tokenizer*",)):
        require(
            any(any(folder.glob(pattern)) for pattern in needed),
            "model",
            model,
            f"has no {needed[0]} file",
            "give a complete Hugging Face folder",
        )
    require(
        not any("ForSequenceClassification" in name for name in architectures),
        "model",
        model,
        f"is a reward model ({architectures[:1]}), which writes nothing",
        "write its LM alone: launch/convert.py to-hf --heads lm",
    )
    return folder


def fingerprint(folder: pathlib.Path) -> str:
    """Short id of what a model folder holds: its small files whole; names, sizes and both ends of the weights."""
    digest = hashlib.sha256()
    weights = {path for pattern in _WEIGHTS for path in folder.glob(pattern)}
    for path in sorted({*(folder / name for name in _SMALL), *weights}):
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with open(path, "rb") as file:
            if path in weights and size > 2 * _ENDS:
                digest.update(file.read(_ENDS))
                file.seek(-_ENDS, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()[:16]
