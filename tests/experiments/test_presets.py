"""The experiments of the paper, as presets: every command of every cell is one."""

from __future__ import annotations

import pathlib
import runpy

import pytest

from codepmp_jax.commands import main
from codepmp_jax.config import ExperimentConfig, presets
from codepmp_jax.experiments.grid import plan

NAMES = sorted(
    path.stem
    for path in presets.CONFIGS.glob("exp_*.py")
    if isinstance(presets.load_preset(path.stem), ExperimentConfig)
)
STAGES = main.all_settings()
# Cells and distinct commands of each.
SIZES = {
    "exp_learning_rate_7b": (10, 3 * 10),
    "exp_main_1b5": (24, 3 * 24),
    "exp_main_7b": (24, 3 * 24),
    "exp_pair_source_1b5": (18, 3 + 3 * 18),
    "exp_pmp_scaling_1b5": (45, 5 + 3 * 45),
    # Tasks, code and model; of a seed its pairs, control and log-probs; then programs, judgements and pass@k, of three
    # policies after their training.
    "exp_policies_tiny": (25, 5 + 5 * 6 + 25 * 4 + 15),
    "exp_sample_efficiency_7b": (42, 7 * 42),
    # Model, corpora, pairs and tasks; baselines; pretraining; then train, score, accuracy and rm of each cell.
    "exp_smollm2": (162, 14 + 42 + 5 + 4 * 162),
    "exp_smollm2_gpu": (270, 14 + 60 + 5 + 4 * 270),
    "exp_smollm2_rates": (12, 2 + 4 * 12),
    "exp_smollm2_scaling": (24, 2 + 8 + 4 * 24),
    "exp_smollm2_small": (4, 6 + 2 + 3 + 4 * 4),
    "exp_smollm2_writers": (4, 2 + 3 * 4),
    "exp_tiny": (12, 5 + 3 * 12),
}


def test_the_table_has_every_preset():
    assert list(SIZES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_every_cell_is_accepted(name):
    config = presets.load_preset(name)
    grid = plan(config, dict.fromkeys(config.input_paths, ""), STAGES)
    assert (len(grid.cells), len(grid.steps)) == SIZES[name]
    # Each evaluation enters the table under the cell's own folder.
    for step in grid.steps:
        if step.command in ("evaluate accuracy", "evaluate best-of-n", "evaluate pass-at-k"):
            assert step.place.startswith("cells/")
            assert len(step.cells) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_says_command_hardware_and_cost(name):
    text = (pathlib.Path(presets.CONFIGS) / f"{name}.py").read_text()
    assert f"    codepmp experiment --config {name}" in text
    assert "Hardware: " in text
    assert name in ("exp_tiny", "exp_smollm2_small") or "Expected cost" in text


def test_the_gpu_size_finds_what_it_changes():
    base = presets.load_preset("exp_smollm2")
    changes = runpy.run_path(str(presets.CONFIGS / "exp_smollm2_gpu.py"))["CHANGES"]
    for old in changes:
        assert any(old in text for text in (*base.texts, *base.commands)), old
