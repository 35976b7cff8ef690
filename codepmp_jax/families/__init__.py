"""Model families: what sets one architecture apart from another, a file a family.

Every module here with a `FAMILY` is registered under the family's name, which is what `model.family` and the
`model_type` of a Hugging Face config.json say.

Enters: traits, settings and weight names as plain data, and functions on config entries; no arrays.
"""

import importlib
import json
import pathlib
import pkgutil
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.families.family import Family


def _load_families() -> dict[str, Family]:
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    families = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in families}


FAMILIES: dict[str, Family] = _load_families()

OPTIONAL_SETTINGS: dict[str, tuple[str, ...]] = {
    setting: tuple(name for name, family in FAMILIES.items() if setting in family.settings)
    for setting in dict.fromkeys(
        setting for family in FAMILIES.values() for setting in family.settings
    )
}
"""Settings of ModelConfig that only some families have, with the names of those families."""


def read_hf_config(folder: pathlib.Path) -> dict[str, Any]:
    """A Hugging Face folder's config.json. Raises UserError where it is not JSON of a known family."""
    path = folder / "config.json"
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{folder}: is a PEFT adapter, without the model that it adapts. Remedy: give a folder with both, written "
            "by codepmp convert to-hf, or by save_pretrained after peft's merge_and_unload."
        )
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. Remedy: give a Hugging Face folder or a training run."
        )
    try:
        hf = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error}). Remedy: copy the folder again.") from error
    require(
        hf.get("model_type") in FAMILIES,
        f"{path}: model_type",
        hf.get("model_type"),
        f"must be one of {', '.join(FAMILIES)}",
        "take a model of a known family",
    )
    return hf
