"""The settings of LoRA, by themselves."""

from __future__ import annotations

import math

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import LoraConfig, TrainConfig, presets
from codepmp_jax.config.lora import MODULES


def test_the_targets_are_the_matrices_of_a_layer_by_pefts_names():
    assert MODULES == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    assert LoraConfig(rank=4).modules == MODULES
    # Each once, in a layer's order, however they are given.
    assert LoraConfig(rank=4, targets=("v_proj", "q_proj", "v_proj")).modules == (
        "q_proj",
        "v_proj",
    )
    assert LoraConfig(rank=4, targets=("v_proj", "all")).modules == MODULES


def test_the_scale_is_pefts():
    assert LoraConfig(rank=8, alpha=16).scale == 2
    assert LoraConfig(rank=8, alpha=16, rslora=True).scale == 16 / math.sqrt(8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": -1}, r"lora\.rank = -1: must be greater than or equal to 0"),
        ({"rank": 4, "alpha": 0}, r"lora\.alpha = 0: must be greater than 0"),
        ({"rank": 4, "targets": ("q_projj",)}, r"lora\.targets = 'q_projj': .*give q_proj,"),
        ({"rank": 4, "targets": ("q",)}, r"lora\.targets = 'q': must be one of all, q_proj"),
        ({"rank": 4, "targets": ("all-linear",)}, r"give all for all of them"),
        ({"rank": 4, "targets": ("lm_head",)}, r"lora\.targets = 'lm_head': must be one of"),
        ({"rank": 4, "targets": ("score",)}, "the score head is always trained in full"),
        ({"rank": 4, "targets": ()}, "must name a matrix"),
        ({"alpha": 16}, r"lora\.rank = 0: must be above 0 where lora\.alpha is given"),
        ({"targets": ("q_proj",)}, r"must be above 0 where lora\.targets is given"),
        ({"base_dtype": "bfloat16"}, r"must be above 0 where lora\.base_dtype is given"),
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        LoraConfig(**settings)


def test_lora_is_a_few_flags_over_any_preset():
    options = [
        "--config",
        "rm_tiny",
        "--lora.rank",
        "16",
        "--lora.targets",
        "q_proj",
        "v_proj",
        "--lora.rslora",
    ]
    config = presets.parse(TrainConfig, "", options)
    assert config.lora == LoraConfig(rank=16, targets=("q_proj", "v_proj"), rslora=True)
    # What was saved before there was LoRA trains the whole model.
    saved = presets.to_json(config)
    del saved["lora"]
    assert not presets.from_json(TrainConfig, saved, "config.json").lora.is_on
