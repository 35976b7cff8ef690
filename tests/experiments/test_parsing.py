"""Settings of commands that differ in values are those that the command line's parser gives."""

from __future__ import annotations

import shlex

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.experiments import parsing
from codepmp_jax.experiments.parsing import Parser

COMMANDS = [
    "--config pmp_7b --seed 1 --workdir a --optimizer.learning-rate 1e-3",
    "--config pmp_7b --seed 2 --workdir b --optimizer.learning-rate 2e-3",
    "--config pmp_tiny --seed 2 --workdir b --optimizer.learning-rate 2e-3",
    "--config pmp_7b --data.layout shared",
    "--config pmp_7b --data.layout padded",
    "--config pmp_7b --data.row-length 1024",
    "--config pmp_7b --data.row-length None",
    "--config pmp_7b --global-batch-rows 128 --data.num-streams 128",
    "--config pmp_7b --global-batch-rows 64 --data.num-streams 64",
    "--config pmp_7b --global-batch-rows 512 --data.num-streams 512",
    "--seed=1 --data.no-shuffle --compiler-options xla_a=1 xla_b=2",
    "--seed=2 --data.no-shuffle --compiler-options xla_a=1 xla_b=2",
    "--compiler-options xla_a=1",
    "--compiler-options xla_a=2",
    "--model.init-from {output}/a",
    "--model.init-from {pmp}",
]


def test_every_command_gives_what_the_parser_gives():
    parser = Parser()
    for command in COMMANDS:
        words = shlex.split(command)
        assert parser.parse(TrainConfig, words, "train") == presets.parse(TrainConfig, "", words)


def test_values_alone_are_not_parsed_again(monkeypatch):
    parser = Parser()
    parser.parse(TrainConfig, ["--seed", "1", "--workdir", "a"], "train")
    monkeypatch.setattr(parsing.presets, "parse", lambda *_, **__: 1 / 0)
    assert parser.parse(TrainConfig, ["--seed", "7", "--workdir", "b"], "train").seed == 7
    with pytest.raises(ZeroDivisionError):
        parser.parse(TrainConfig, ["--seed", "7", "--num-steps", "3"], "train")


def test_a_wrong_value_is_refused_as_ever(capsys):
    parser = Parser()
    parser.parse(TrainConfig, ["--seed", "1"], "train")
    for value in ("-1", "many", "1.5"):
        with pytest.raises(UserError, match="is not accepted"):
            parser.parse(TrainConfig, ["--seed", value], "train")
    assert "seed" in capsys.readouterr().err
