"""From axes and commands to steps: what is shared, what needs what, and when a step is another one."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import AccuracyConfig, ExperimentConfig, ScoreConfig, TrainConfig
from codepmp_jax.experiments.grid import Plan, plan

STAGES = {
    "train": TrainConfig,
    "evaluate score": ScoreConfig,
    "evaluate accuracy": AccuracyConfig,
}
CONFIG = ExperimentConfig(
    output="/out",
    axes=("init=base,pmp", "pairs=10,20", "seed=0,1"),
    texts=("init=base options:", "init=pmp options: --model.init-from {output}/pmp"),
    inputs=("data=/data/pairs", "code=/data/code"),
    commands=(
        "codepmp train --config pmp_tiny --workdir {output}/pmp --data.input {code}",
        "codepmp train --config pmp_tiny --workdir {cell}/train --data.input {data} {init.options} "
        "--data.max-pairs {pairs} --data.subset-seed {seed} --seed {seed}",
        "codepmp evaluate score --backend jax --model {cell}/train --input {data} "
        "--output {cell}/scores.jsonl",
        "codepmp evaluate accuracy --pairs {data} --scores {cell}/scores.jsonl --output {cell}/accuracy",
    ),
)
DIGESTS = {"data": "d", "code": "c"}


@functools.cache
def made(config: ExperimentConfig = CONFIG, **digests: str) -> Plan:
    return plan(config, DIGESTS | digests, STAGES)


def identities(grid: Plan) -> dict[str, str]:
    return {step.place: step.identity for step in grid.steps}


def changed(before: Plan, after: Plan) -> set[str]:
    """Places of the steps that are others than before."""
    old, new = identities(before), identities(after)
    assert old.keys() == new.keys()
    return {place for place in old if old[place] != new[place]}


def replaced(**changes) -> ExperimentConfig:
    return dataclasses.replace(CONFIG, **changes)


def with_command(number: int, old: str, new: str) -> ExperimentConfig:
    commands = list(CONFIG.commands)
    assert old in commands[number]
    commands[number] = commands[number].replace(old, new)
    return replaced(commands=tuple(commands))


def test_a_cell_is_a_value_of_each_axis_and_equal_commands_are_one_step():
    grid = made()
    assert len(grid.cells) == 8
    assert grid.cells[0].name == "init=base/pairs=10/seed=0"
    assert grid.cells[1].name == "init=base/pairs=10/seed=1"
    assert len(grid.steps) == 1 + 3 * 8
    shared = [step for step in grid.steps if len(step.cells) > 1]
    assert [step.place for step in shared] == ["pmp"]
    assert len(shared[0].cells) == 8


def test_commands_are_what_a_user_types():
    step = next(s for s in made().steps if s.place == "cells/init=pmp/pairs=20/seed=1/train")
    assert " ".join(step.words) == (
        "codepmp train --config pmp_tiny --workdir /out/cells/init=pmp/pairs=20/seed=1/train "
        "--data.input /data/pairs --model.init-from /out/pmp --data.max-pairs 20 --data.subset-seed 1 "
        "--seed 1"
    )
    assert step.output == "/out/cells/init=pmp/pairs=20/seed=1/train"


def test_a_step_needs_what_it_names_and_no_more():
    needs = {step.place: set(step.needs) for step in made().steps}
    assert needs["pmp"] == set()
    assert needs["cells/init=base/pairs=10/seed=0/train"] == set()
    cell = "cells/init=pmp/pairs=10/seed=0"
    assert needs[f"{cell}/train"] == {"pmp"}
    assert needs[f"{cell}/scores.jsonl"] == {f"{cell}/train"}
    assert needs[f"{cell}/accuracy"] == {f"{cell}/scores.jsonl"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("{output}/pairs", True),
        ("{output}/pairs/train", True),
        ("a={output}/pairs:0.5", True),
        ("--decay-from={output}/pairs@100", True),
        ("{output}/pairs_small", False),
        ("{output}/pairs.jsonl", False),
        ("{output}/other/pairs", False),
    ],
)
def test_what_counts_as_naming_an_output(words, needed):
    first = "codepmp train --config pmp_tiny --workdir {output}/pairs"
    grid = plan(ExperimentConfig(commands=(first, f"program {words}")), {}, STAGES)
    assert (grid.steps[1].needs == ("pairs",)) == needed


def test_behind_a_program_of_others_all_of_the_cell_waits():
    config = ExperimentConfig(
        axes=("seed=0,1",),
        commands=(
            "program {seed}",
            "codepmp train --config pmp_tiny --workdir {cell}/train --seed {seed}",
        ),
    )
    grid = plan(config, {}, STAGES)
    program, train, *_ = grid.steps
    assert program.output is None
    assert train.needs == (program.place,)


@pytest.mark.parametrize(
    "words", ["{run}/train/checkpoints", "{run}/train", "{run}/train/", "{run}"]
)
def test_a_program_of_others_comes_after_all_that_read_what_it_may_remove(words):
    config = ExperimentConfig(
        axes=("seed=0,1",),
        commands=(
            "codepmp train --config pmp_tiny --workdir {run}/train --seed {seed}",
            "codepmp evaluate score --model {run}/train --input pairs --output {cell}/scores.jsonl",
            "codepmp train --config pmp_tiny --workdir {output}/other",
            f"rm -r {words}",
        ),
    )
    grid = plan(config, {}, STAGES)
    (removes, *_) = [step for step in grid.steps if step.command == "rm"]
    assert removes.needs == ("cells/seed=0/train", "cells/seed=0/scores.jsonl")


def test_without_axes_there_is_one_cell():
    grid = plan(ExperimentConfig(commands=("program {cell}",)), {}, STAGES)
    assert [cell.name for cell in grid.cells] == ["all"]
    assert grid.steps[0].words == ("program", "runs/experiment/cells/all")


# --- identity -------------------------------------------------------------------------------------


def test_paths_are_no_part_of_what_a_step_is():
    moved = replaced(
        output="/elsewhere", inputs=("data=gs://bucket/pairs", "code=/other"), parallel=4
    )
    assert changed(made(), made(moved)) == set()


def test_another_way_to_say_the_same_is_the_same():
    config = with_command(1, "--config pmp_tiny", "--seed 5 --config pmp_tiny --num-steps 240")
    assert changed(made(), made(config)) == set()


def test_a_changed_setting_changes_its_steps_and_those_that_need_them():
    config = with_command(1, "--seed {seed}", "--seed {seed} --optimizer.learning-rate 0.5")
    assert changed(made(), made(config)) == {s.place for s in made().steps} - {"pmp"}
    config = with_command(0, "--config pmp_tiny", "--config pmp_tiny --num-steps 3")
    places = {s.place for s in made().steps if "init=pmp" in s.place}
    assert changed(made(), made(config)) == {"pmp", *places}
    config = with_command(3, "--pairs {data}", "--pairs {data} --resampling.seed 1")
    assert changed(made(), made(config)) == {
        s.place for s in made().steps if s.place.endswith("accuracy")
    }


def test_changed_data_changes_the_steps_that_name_it():
    assert changed(made(), made(code="x")) == {
        "pmp",
        *(s.place for s in made().steps if "init=pmp" in s.place),
    }
    assert changed(made(), made(data="x")) == {s.place for s in made().steps} - {"pmp"}


def test_a_larger_grid_keeps_its_cells():
    larger = replaced(axes=("init=base,pmp", "pairs=10,20,40", "seed=0,1,2"))
    old, new = identities(made()), identities(made(larger))
    assert old.items() <= new.items()


def test_an_added_evaluation_keeps_the_steps_before_it():
    added = "codepmp evaluate accuracy --pairs {data} --scores {cell}/scores.jsonl --output {cell}/again"
    grid = made(replaced(commands=(*CONFIG.commands, added)))
    assert identities(made()).items() <= identities(grid).items()


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replaced(commands=()), "commands = .*must be at least one"),
        (
            with_command(1, "{pairs}", "{pair}"),
            r"^commands: '[^']*': \{pair\} stands for nothing; did you mean pairs",
        ),
        (with_command(1, "{cell}/train", "{output}/train"), "is what another command writes, too"),
        (with_command(1, "{cell}/train", "runs/train"), "workdir = 'runs/train': must be below"),
        (with_command(1, "codepmp train", "codepmp trian"), "no such command; did you mean train"),
        (with_command(1, "--config pmp_tiny", "--config pmp_tyni"), "did you mean pmp_tiny"),
        (with_command(1, "--seed", "'--seed"), "No closing quotation"),
        (replaced(texts=("init=pmp options: --seed 1",)), "--texts 'init=base options: ...'"),
        (with_command(1, "-pairs {pairs}", "-pairs -1"), "--data.max-pairs -1.* is not accepted"),
    ],
)
def test_one_clear_error(config, message):
    with pytest.raises(UserError, match=message):
        made(config)


def test_an_option_that_is_none_is_refused(capsys):
    with pytest.raises(UserError, match="is not accepted, see above"):
        made(with_command(1, "--data.max-pairs", "--data.max-pears"))
    assert "max-pairs" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axes": ("pairs",)}, "axes = 'pairs': must be NAME=VALUE"),
        ({"axes": ("pairs=1,1",)}, "axes: pairs = '1': must be a value of its own"),
        ({"axes": ("pairs=a/b",)}, "axes: pairs = 'a/b'"),
        ({"axes": ("pairs=many",)}, "axes: pairs = 'many': must be a number above 0"),
        ({"axes": ("pairs=0,10",)}, "axes: pairs = '0': must be a number above 0"),
        ({"axes": ("output=1",)}, "must be the name of one axis or input"),
        ({"axes": ("a=1",), "inputs": ("a=/x",)}, "axes and inputs = 'a'"),
        ({"inputs": ("data",)}, "inputs = 'data': must be NAME=PATH"),
        ({"axes": ("a=1",), "texts": ("b=1 key: x",)}, "texts = 'b=1 key: x': must be"),
        ({"axes": ("a=1",), "size": "b"}, "size = 'b': must be an axis, one of a"),
    ],
)
def test_a_grid_that_is_none(settings, message):
    with pytest.raises(UserError, match=message):
        ExperimentConfig(**settings)


def test_braces_are_doubled_and_a_path_with_spaces_is_one_word():
    config = ExperimentConfig(
        output="/out put",
        axes=("a=1",),
        texts=("a=1 more: x '{output} y' {{z}}",),
        commands=("program {{b}} {cell} {a.more}",),
    )
    (step,) = plan(config, {}, STAGES).steps
    assert step.words == ("program", "{b}", "/out put/cells/a=1", "x", "/out put y", "{z}")
