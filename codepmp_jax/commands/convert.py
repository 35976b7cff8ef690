"""Converts between training runs and Hugging Face folders, a piece of the model in memory at a time.

    codepmp convert to-hf --run WORKDIR --output FOLDER --verify
    codepmp convert to-peft --run LORA_WORKDIR --output FOLDER --verify
    codepmp convert from-hf --input FOLDER --output WORKDIR
    codepmp convert from-gguf --input FILE --output FOLDER

`codepmp train --model.init-from` takes the folder, and the run; of the run each host of a pod restores its part.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from codepmp_jax.config import (
    AdapterConfig,
    ConvertConfig,
    FromGgufConfig,
    FromHfConfig,
    TrainConfig,
    presets,
)

if TYPE_CHECKING:
    from codepmp_jax.conversion.export import Check
    from codepmp_jax.models.preference import Params

COMMANDS = {
    "to-hf": (ConvertConfig, "Converts a training run to a Hugging Face folder."),
    "to-peft": (AdapterConfig, "Converts a LoRA run to a PEFT adapter."),
    "from-hf": (FromHfConfig, "Converts a Hugging Face folder to a training run."),
    "from-gguf": (FromGgufConfig, "Converts a GGUF file to a Hugging Face folder."),
}


def make_check(convert: ConvertConfig, figures: list[str]) -> Check:
    """What compares the written folder with the run, and adds to `figures` how far they differ."""
    # PyTorch is needed here only.
    from codepmp_jax.conversion.verify import verify, verify_adapter
    from codepmp_jax.conversion.verify_tokens import form_of_folder, verify_tokens
    from codepmp_jax.files import storage
    from codepmp_jax.text.tokenization import Tokenizer

    def check(folder: pathlib.Path, run: TrainConfig, load: Callable[[], Params]) -> None:
        tokenizer = Tokenizer.load(str(storage.to_path(convert.run) / "tokenizer"))
        tokens = verify_tokens(folder, tokenizer, run, form_of_folder(folder))
        if isinstance(convert, AdapterConfig):
            errors = verify_adapter(folder, run, load, convert.dtype)
        else:
            errors = verify(folder, run.model, run.data, load, convert.dtype, run.lora)
        figures.append(f": {tokens}; relative error against PyTorch {errors}")

    return check


def main() -> None:
    """Parses, converts, verifies if asked to."""
    command, config = presets.parse_command(COMMANDS)
    from codepmp_jax.conversion.export import to_hf
    from codepmp_jax.conversion.from_gguf import from_gguf
    from codepmp_jax.conversion.run import from_hf
    from codepmp_jax.files.hub import Repository
    from codepmp_jax.training import telemetry

    telemetry.setup_logging()
    if command == "from-hf":
        print(from_hf(config))
        return
    if command == "from-gguf":
        print(from_gguf(config))
        return
    figures: list[str] = []
    repository = Repository(config.push_to_hub, "model") if config.push_to_hub else None
    folder = to_hf(config, make_check(config, figures) if config.verify else None)
    print(f"{folder}{''.join(figures)}")
    if repository is not None:
        print(f"-> {repository.push(folder)}")
