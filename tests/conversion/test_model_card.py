from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from huggingface_hub import ModelCard

from codepmp_jax.config import ConvertConfig, presets
from codepmp_jax.conversion import model_card
from codepmp_jax.files.json_files import write_json
from tests.training.reference import tiny_config

ROWS = [
    {"step": 1, "loss": 3.0, "accuracy": 0.5},
    {"step": 2, "loss": 2.0, "accuracy": 0.75, "eval_accuracy": 0.875, "eval_pair_loss": 0.25},
    {"step": 3, "loss": 1.0, "accuracy": 0.625, "eval_accuracy": 0.75, "eval_pair_loss": 0.5},
    {"step": 4, "loss": 0.5, "accuracy": 1.0, "eval_accuracy": 1.0},
]


def card(run: pathlib.Path, form: str = "text", with_score: bool = True, **changes) -> Any:
    """The card of a run's step 3, as the hub reads it."""
    run.mkdir(exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    convert = ConvertConfig(run=str(run), output="folder")
    text = model_card.write(convert, tiny_config(**changes), 3, form, with_score)
    return ModelCard(text)


def test_the_header_is_what_the_hub_looks_for(tmp_path):
    data = card(tmp_path / "my run", model__init_from="Qwen/Qwen2-7B").data
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "Qwen/Qwen2-7B"
    assert data.library_name == "transformers"
    data = card(tmp_path / "my run", with_score=False).data
    assert data.pipeline_tag == "text-generation"
    assert data.base_model is None


def test_metrics_are_of_the_steps_up_to_the_checkpoint(tmp_path):
    text = card(tmp_path / "my run").text
    assert "# my run, step 3" in text
    for line in (
        "| loss | 1.0000 |",
        "| accuracy | 0.6250 |",
        "| eval_pair_loss | 0.5000 |",
        "Best eval_accuracy: 0.8750 at step 2.",
    ):
        assert line in text.splitlines()


def test_a_run_without_metrics_or_evaluation_says_so(tmp_path):
    assert "left no metrics" in model_card.write(
        ConvertConfig(run=str(tmp_path)), tiny_config(), 3, "text", True
    )


@pytest.mark.parametrize(
    ("form", "said"), [("text", r"'{prompt}\n{response}'"), ("conversation", "is a conversation")]
)
def test_how_texts_are_formed(tmp_path, form, said):
    text = card(tmp_path, form, data__template="{prompt}\n{response}", data__append_eos=True).text
    assert said in text
    assert "EOS token ends a text" in text
    assert "at most 24 tokens" in text


def test_the_config_is_whole(tmp_path):
    text = card(tmp_path).text
    assert json.loads(text.split("```json\n")[1].split("```")[0]) == presets.to_json(tiny_config())


def test_the_base_model_is_found_behind_runs_and_folders(tmp_path):
    cache = tmp_path / "hub" / "models--Qwen--Qwen2-1.5B" / "snapshots" / "abc"
    cache.mkdir(parents=True)
    assert model_card.base_model(str(cache)) == "Qwen/Qwen2-1.5B"
    run, folder = tmp_path / "run", tmp_path / "folder"
    config = presets.to_json(tiny_config(model__init_from=str(cache)))
    write_json(run / "config.json", config)
    assert model_card.base_model(str(run)) == "Qwen/Qwen2-1.5B"
    write_json(
        folder / "codepmp_jax.json",
        {"config": presets.to_json(tiny_config(model__init_from=str(run)))},
    )
    # Beside it lies a config.json of Hugging Face's.
    write_json(folder / "config.json", {"model_type": "qwen2"})
    assert model_card.base_model(str(folder)) == "Qwen/Qwen2-1.5B"
    write_json(tmp_path / "own" / "config.json", {"model_type": "qwen2"})
    assert model_card.base_model(str(tmp_path / "own")) is None
    assert model_card.base_model(None) is None
    assert model_card.base_model("/nowhere/at/all") is None
