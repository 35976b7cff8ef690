"""What commands are estimated to cost."""

from __future__ import annotations

import pathlib

import pytest

from codepmp_jax.config import DataConfig, ExperimentConfig, ModelConfig, TrainConfig
from codepmp_jax.experiments.costs import Rates, work_of
from codepmp_jax.experiments.grid import Plan, plan
from codepmp_jax.experiments.listing import describe, list_commands
from codepmp_jax.experiments.states import States
from codepmp_jax.models.flops import train_flops
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer

NUM_PAIRS = 50
PAIR = PreferencePair("a", "Add.", "return a + b", "return a - b")
TRAIN = (
    "codepmp train --workdir {cell}/train --data.input {data} --data.max-length 64 "
    "--global-batch-rows 8 --model.compute-dtype float32 --num-epochs 2 "
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pairs")
    splits = {"train": write_split(folder, "train", [PAIR] * NUM_PAIRS, 2)}
    write_manifest(folder, PreferencePair, splits, {})
    return folder


def grid_of(data: pathlib.Path, output: pathlib.Path, *commands: str) -> tuple:
    config = ExperimentConfig(
        output=str(output),
        axes=("pairs=10,20,40",),
        inputs=(f"data={data}",),
        commands=commands,
    )
    return config, plan(config, {"data": "d"}, {"train": TrainConfig})


def num_tokens() -> int:
    """Of the pair, with the prefix that both texts share once."""
    tokenizer = Tokenizer.load("embedded").backend
    chosen, rejected = (
        tokenizer.encode(DataConfig().template.format(prompt=PAIR.prompt, response=response)).ids
        for response in (PAIR.chosen, PAIR.rejected)
    )
    shared = next(i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    return len(chosen) + len(rejected) - shared


def test_epochs_over_a_subset(data, tmp_path):
    _, grid = grid_of(data, tmp_path, TRAIN + "--data.max-pairs {pairs} --loss.lm-coef 0")
    works = [work_of(step, grid) for step in grid.steps]
    for work, pairs in zip(works, (10, 20, 40), strict=True):
        assert work is not None
        assert work.pairs is not None
        assert work.pairs == 2 * pairs
        assert work.steps == 2 * pairs / 8
        assert work.tokens is not None
        assert work.tokens == 2 * pairs * num_tokens()
        least = train_flops(ModelConfig(), tokens=work.tokens, keys=0, labels=0, pairs=work.pairs)
        assert work.flops is not None
        assert least < work.flops < 1.5 * least


def test_steps_that_are_given(data, tmp_path):
    _, grid = grid_of(data, tmp_path, TRAIN + "--num-steps 5 --seed {pairs}")
    work = work_of(grid.steps[0], grid)
    assert work is not None
    assert (work.steps, work.pairs) == (5, 40)


def test_what_is_not_there_yet_is_not_known(tmp_path):
    _, grid = grid_of(tmp_path / "none", tmp_path, TRAIN + "--num-steps 5 --seed {pairs}")
    work = work_of(grid.steps[0], grid)
    assert work is not None
    assert (work.steps, work.pairs, work.tokens, work.flops) == (5, None, None, None)


def test_a_model_is_that_of_the_command_which_trains_it(data, tmp_path):
    first = "codepmp train --workdir {output}/pmp --model.num-layers 7 --data.input {data}"
    second = TRAIN + "--model.init-from {output}/pmp --data.max-pairs {pairs}"
    _, grid = grid_of(data, tmp_path, first, second)
    _, alone = grid_of(data, tmp_path, TRAIN + "--data.max-pairs {pairs} --model.num-layers 7")
    here, there = work_of(grid.steps[1], grid), work_of(alone.steps[0], alone)
    assert here == there


def ended(grid: Plan, states: States, seconds: dict[str, float]) -> None:
    for step in grid.steps:
        if step.place in seconds:
            states.begin(step)
            pathlib.Path(str(step.output)).mkdir(parents=True)
            states.end(step, 0, seconds[step.place])


def test_seconds_grow_with_pairs_as_finished_commands_say(data, tmp_path):
    config, grid = grid_of(data, tmp_path, TRAIN + "--data.max-pairs {pairs}")
    states = States(str(tmp_path))
    last = "cells/pairs=40/train"
    assert Rates(grid, states).seconds({last}) is None
    ended(grid, states, {"cells/pairs=10/train": 15.0})
    assert Rates(grid, states).seconds({last}) == pytest.approx(4 * 15)
    ended(grid, states, {"cells/pairs=20/train": 25.0})
    assert Rates(grid, states).seconds({last}) == pytest.approx(5 + 40)
    assert Rates(grid, states).seconds(set()) == 0
    listed = list_commands(config, grid, states)
    assert describe(grid, states) == "3 cells: 2 done, 1 new; 2 of 3 commands are done"
    assert "left to do" in listed
    assert f"$ codepmp train --workdir {tmp_path}/cells/pairs=10/train" in listed


def test_a_changed_grid_says_so(data, tmp_path):
    _, grid = grid_of(data, tmp_path, TRAIN + "--data.max-pairs {pairs}")
    ended(grid, States(str(tmp_path)), {step.place: 1.0 for step in grid.steps})
    _, other = grid_of(data, tmp_path, TRAIN + "--data.max-pairs {pairs} --seed 3")
    states = States(str(tmp_path))
    assert describe(other, states) == "3 cells: 3 changed; 0 of 3 commands are done"
