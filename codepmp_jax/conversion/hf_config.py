"""A Hugging Face folder's config.json to a ModelConfig and back."""

from __future__ import annotations

import dataclasses
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ModelConfig, RopeScalingConfig
from codepmp_jax.families import FAMILIES, OPTIONAL_SETTINGS


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a known family's config.json; `source` names that file in errors.

    Settings that are not in a config.json (dtype, remat, initialisation, whether the LM head is tied) keep
    their values. Raises UserError where an entry is missing or asks for what is not implemented.
    """
    try:
        settings = FAMILIES[hf["model_type"]].from_hf(hf, source)
    except KeyError as error:
        raise UserError(f"{source}: lacks {error}. Remedy: take a complete config.json.") from error
    scaling = RopeScalingConfig(**settings.pop("rope_scaling"))
    optional = dict.fromkeys(OPTIONAL_SETTINGS, None)
    return dataclasses.replace(config, **(optional | settings), rope_scaling=scaling)


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """The entries of config.json for a model of these dimensions, for texts of up to `max_length` tokens."""
    return FAMILIES[config.family].to_hf(dataclasses.asdict(config), max_length)
