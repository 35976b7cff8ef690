"""A checkpoint and a config.json of an older commit: see fixtures/run_of_55d96fa/README.md."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.training import loop
from tests.training.runs import rows

RUN = pathlib.Path(__file__).parent / "fixtures" / "run_of_55d96fa"


def load(*options: str) -> TrainConfig:
    """The run's settings, as a user gives them again."""
    config_file = str(RUN / "run" / "config.json")
    return presets.parse(TrainConfig, "Trains.", ["--config", config_file, *options])


def test_its_settings_load_and_take_the_options_of_old():
    config = load()
    assert (config.num_steps, config.global_batch_rows, config.seed) == (6, 8, 7)
    for option, saved, other in (
        ("--loss.rm-coef", "0.5", "0.25"),
        ("--loss.lm-reduction", "micro_batch_mean", "token_mean"),
        ("--optimizer.first-moment-dtype", "bfloat16", "float32"),
    ):
        assert load(option, saved) == config != load(option, other)


def test_it_resumes_with_the_metrics_of_old(tmp_path, monkeypatch):
    shutil.copytree(RUN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    expected = [
        {name: value for name, value in row.items() if not name.startswith("speed/")}
        for row in map(json.loads, (RUN / "metrics.jsonl").read_text().splitlines())
    ]
    config = load()
    assert len(rows(config)) == 3
    loop.train(config)
    found = rows(config)
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    for ours, theirs in zip(found, expected, strict=True):
        # Columns that were added since are not compared.
        same = {name: value for name, value in ours.items() if name in theirs}
        assert same == pytest.approx(theirs, rel=1e-5)
