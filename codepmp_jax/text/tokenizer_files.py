"""The files of a tokenizer: a folder as Hugging Face writes it, on a disk, in a bucket or on the hub."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from etils import epath

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import hub, storage

EMBEDDED = pathlib.Path(__file__).parent / "assets" / "tokenizer"

_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


# What older tokenizers, which transformers converts, consist of.
_OTHER_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "vocab.txt",
    "tekken.json",
)


def find(name: str) -> epath.Path:
    """The folder of a tokenizer; of a hub name, the tokenizer's files only are downloaded."""
    folder = storage.to_path(EMBEDDED if name == "embedded" else name)
    if not folder.is_dir():
        if name == "embedded" or name.count("/") > 1 or name.startswith((".", "/", "~", "gs:")):
            raise UserError(
                f"data.tokenizer = {name!r}: no such folder. Remedy: give a folder with tokenizer.json, "
                "a name on the Hugging Face hub, or 'embedded'."
            )
        from huggingface_hub import snapshot_download

        folder = storage.to_path(
            hub.fetch(
                lambda: snapshot_download(name, allow_patterns=list(_FILES)),
                f"data.tokenizer = {name!r}",
                "give a folder with tokenizer.json, or 'embedded'",
            )
        )
    if not (folder / "tokenizer.json").is_file():
        others = [file for file in _OTHER_FILES if (folder / file).is_file()]
        raise UserError(
            f"data.tokenizer = {name!r}: {folder} has no tokenizer.json"
            + (
                f", but {', '.join(others)}. Remedy: save it anew with transformers: "
                f"AutoTokenizer.from_pretrained({name!r}).save_pretrained(FOLDER), and give FOLDER as data.tokenizer."
                if others
                else ". Remedy: give the folder or hub name of the model's tokenizer as data.tokenizer."
            )
        )
    return folder


def read(path: epath.Path) -> str | None:
    """The text of a file, if there is one."""
    return path.read_bytes().decode() if path.is_file() else None


def read_json(path: epath.Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is no file. Raises UserError where it is no JSON."""
    try:
        return json.loads(read(path) or "{}")
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error}). Remedy: copy it again.") from error


def with_full_offsets(definition: str) -> str:
    """The tokenizer with offsets that cover the white space at the start of a token.

    With `trim_offsets`, " x" would claim to begin at x, also where the space is still the prompt's.
    """

    def untrimmed(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: False if key == "trim_offsets" else untrimmed(value)
                for key, value in part.items()
            }
        return [untrimmed(value) for value in part] if isinstance(part, list) else part

    parsed = json.loads(definition)
    for step in ("pre_tokenizer", "post_processor"):
        parsed[step] = untrimmed(parsed.get(step))
    return json.dumps(parsed, ensure_ascii=False)


def default_template(chat_template: Any) -> str | None:
    """The one template, or the one called `default` of several."""
    if isinstance(chat_template, list):
        named = {entry["name"]: entry["template"] for entry in chat_template}
        return named.get("default")
    return chat_template
