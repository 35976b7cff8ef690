"""Runs on several folders: exact resume, evaluation by source, and what a resumed run may change."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, DataConfig, LmConfig, TrainConfig
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.mixture import Mixture
from codepmp_jax.models.preference import init_params
from codepmp_jax.records.schema import PreferencePair, SourceFile, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import heldout, loop
from codepmp_jax.training.heldout import Heldout
from codepmp_jax.training.run import Run
from codepmp_jax.training.step import evaluate_batch
from tests.training.reference import tiny_config
from tests.training.runs import final_state, rows

pytestmark = pytest.mark.usefixtures("compiled_once")

NUM_STEPS = 6


def make_pairs(seed: int, number: int, subsets: tuple[str, ...] = ("",)) -> list[PreferencePair]:
    """Pairs of random words, every seventh too long for 32 tokens."""
    rng = np.random.default_rng(seed)

    def code(words: int) -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x", "+", "1"], words))

    rows = [
        (f"{seed} do {i}", code(int(rng.integers(2, 9))), code(40 if i % 7 == 3 else 6))
        for i in range(number)
    ]
    return [
        PreferencePair(content_id(*row), *row, subset=subsets[i % len(subsets)])
        for i, row in enumerate(rows)
    ]


def write(folder: pathlib.Path, train: list[PreferencePair], held: list[PreferencePair]) -> str:
    splits = {
        "train": write_split(folder, "train", train, 2),
        "heldout": write_split(folder, "heldout", held, 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Two data sets of 40 and 9 training pairs and 20 and 6 held-out ones."""
    root = tmp_path_factory.mktemp("sources")
    return {
        "large": write(root / "large", make_pairs(1, 40), make_pairs(3, 20, ("x", "y"))),
        "small": write(root / "small", make_pairs(2, 9), make_pairs(4, 6)),
    }


@pytest.fixture(scope="module")
def config(folders, tmp_path_factory) -> TrainConfig:
    mixture = (f"small={folders['small']}:3", f"large={folders['large']}:1")
    return tiny_config(
        workdir=str(tmp_path_factory.mktemp("mixture")),
        model__vocab_size=4096,
        data=DataConfig(
            mixture=mixture,
            template="{prompt}\n{response}",
            max_length=32,
            layout="shared",
            num_streams=2,
        ),
        checkpoint=CheckpointConfig(
            every_steps=2, keep=10, keep_best=1, best_metric="eval_accuracy/small"
        ),
        global_batch_rows=8,
        num_steps=NUM_STEPS,
        log_every_steps=1,
        eval_every_steps=3,
        eval_pairs=64,
    )


@pytest.fixture(scope="module")
def messages(config) -> list[str]:
    """The log of the run of `config`, which goes through."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler, logger = Handler(), logging.getLogger("codepmp_jax")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    loop.train(config)
    logger.setLevel(level)
    logger.removeHandler(handler)
    return lines


@pytest.fixture
def copied(config, messages, tmp_path) -> TrainConfig:
    """The run in a folder that a test may change."""
    shutil.copytree(config.workdir, tmp_path / "run")
    return dataclasses.replace(config, workdir=str(tmp_path / "run"))


def with_data(config: TrainConfig, **changes) -> TrainConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def test_a_run_resumes_to_the_bit_wherever_it_stopped(config, messages, copied):
    checkpoints = pathlib.Path(copied.workdir) / "checkpoints"
    for step in (4, 6):
        shutil.rmtree(checkpoints / str(step))
    # The order of the sources and the unit of the weights say nothing.
    small, large = config.data.mixture
    again = with_data(copied, mixture=(large.replace(":1", ":2"), small.replace(":3", ":6")))
    loop.train(again)
    assert rows(copied) == rows(config)
    for ours, theirs in zip(final_state(copied), final_state(config), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_log_says_how_often_each_source_is_read(messages, config):
    last = rows(config)[-1]
    read = {
        name: last[f"data_pairs/{name}"] + last[f"data_dropped/{name}"]
        for name in ("small", "large")
    }
    assert sum(read.values()) == last["data_records"]
    assert read["small"] / last["data_records"] == pytest.approx(0.75, abs=0.1)
    text = "\n".join(messages)
    assert "mixture: 75.00 % of the pairs are of small" in text
    assert "mixture: small is read" in text
    assert "mixture: large is read" not in text
    assert f"source small: {read['small']} pairs read, {read['small'] / 9:.2f} times its 9" in text
    assert "of large" in text
    assert any("calibration error" in line and "small 0." in line for line in messages)


def test_the_accuracy_of_each_step_is_that_of_its_sources(config, messages):
    before = {"large": 0, "small": 0}
    for row in rows(config):
        after = {name: row[f"data_pairs/{name}"] for name in before}
        wins = {
            name: (row[f"accuracy/{name}"] or 0) * (after[name] - before[name]) for name in before
        }
        num_pairs = sum(after.values()) - sum(before.values())
        assert sum(wins.values()) / num_pairs == pytest.approx(row["accuracy"], rel=1e-5)
        assert all(0 <= (row[f"accuracy/{name}"] or 0) <= 1 for name in before)
        before = after
    assert sum(before.values()) == row["data_pairs"]


def test_the_best_checkpoint_by_a_source_is_kept(config, messages):
    assert {row["step"] for row in rows(config) if "eval_accuracy/small" in row} == {3, 6}


def evaluated(config: TrainConfig, workdir: pathlib.Path) -> dict[str, Any]:
    """What an evaluation of the initial parameters gives."""
    run = Run(dataclasses.replace(config, workdir=str(workdir), checkpoint=CheckpointConfig()))
    with jax.set_mesh(run.mesh):
        found = run.heldout.evaluate(
            init_params(config.model, 0),
            jax.jit(lambda params, batch: evaluate_batch(params, batch, run.config)),
            run.objective,
            run.mesh,
            lambda: False,
        )
    run.close()
    assert found
    return found


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_figures_of_a_source_are_those_of_its_folder_alone(config, folders, tmp_path, layout):
    """On eight devices, whatever pairs share a row or a batch."""
    assert jax.device_count() == 8
    config = with_data(config, layout=layout)
    whole = evaluated(config, tmp_path / "whole")
    alone = {
        name: evaluated(with_data(config, mixture=(), input=folder), tmp_path / name)
        for name, folder in folders.items()
    }
    for name, of_folder in alone.items():
        assert whole[f"heldout_pairs/{name}"] == of_folder["heldout_pairs"] > 0
        for figure in ("accuracy", "margin"):
            expected = of_folder[f"eval_{figure}"]
            assert whole[f"eval_{figure}/{name}"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for figure in ("accuracy", "margin"):
        mean = sum(
            whole[f"eval_{figure}/{name}"] * whole[f"heldout_pairs/{name}"] for name in folders
        )
        assert mean / whole["heldout_pairs"] == pytest.approx(
            whole[f"eval_{figure}"], rel=1e-4, abs=1e-5
        )
    # A folder alone has figures by subset, where it has several.
    of_subsets = {name for name in alone["large"] if "/" in name}
    assert of_subsets == {
        f"{figure}/{name}"
        for figure in ("eval_accuracy", "eval_margin", "heldout_pairs")
        for name in "xy"
    }
    assert not any("/" in name for name in alone["small"])


def other_name(mixture: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return (mixture[0].replace("small=", "tiny="), mixture[1])


def other_weight(mixture: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return (mixture[0].replace(":3", ":4"), mixture[1])


def other_folder(mixture: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return (mixture[0], f"large={folder}:1")


def one_less(mixture: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return mixture[1:]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (other_name, "data.mixture = "),
        (other_weight, "data.mixture = "),
        (one_less, "data.mixture = "),
        (other_folder, "must hold exactly the shards"),
    ],
)
def test_another_mixture_is_not_resumed_unless_asked_for(copied, tmp_path, change, named):
    folder = write(tmp_path / "other", make_pairs(5, 40), make_pairs(3, 20))
    changed = with_data(copied, mixture=change(copied.data.mixture, folder))
    changed = dataclasses.replace(changed, checkpoint=CheckpointConfig(every_steps=2, keep=10))
    with pytest.raises(UserError) as raised:
        loop.train(changed)
    assert named in str(raised.value)
    assert "data.mixture" in str(raised.value)
    if change is other_name:
        allowed = dataclasses.replace(changed, allow_config_change=True, num_steps=NUM_STEPS + 1)
        assert loop.train(allowed)["step"] == NUM_STEPS + 1


def test_a_folder_may_move(copied, folders, tmp_path, caplog):
    shutil.copytree(folders["small"], tmp_path / "moved")
    mixture = (f"small={tmp_path / 'moved'}:3", copied.data.mixture[1])
    caplog.set_level(logging.INFO, "codepmp_jax")
    assert loop.train(with_data(copied, mixture=mixture)) == {}
    assert "changed at step 6: data.mixture" in caplog.text


def test_a_run_on_one_folder_does_not_go_on_as_a_mixture(config, folders, tmp_path):
    single = with_data(config, mixture=(), input=folders["large"])
    single = dataclasses.replace(
        single, workdir=str(tmp_path), checkpoint=CheckpointConfig(), num_steps=1, eval_pairs=0
    )
    loop.train(single)
    mixed = with_data(single, mixture=(f"large={folders['large']}:1",), input=DataConfig.input)
    with pytest.raises(UserError, match=r"data\.mixture"):
        loop.train(mixed)


def test_epochs_are_of_all_sources_together(config, tmp_path):
    """Two passes over 49 pairs, as many as their sources have together."""
    padded = with_data(config, layout="padded")
    run = Run(dataclasses.replace(padded, workdir=str(tmp_path), num_steps=None, num_epochs=2.0))
    # About a seventh of the pairs are dropped, and make steps longer.
    assert run.num_steps == pytest.approx(2 * 49 / 8 * 6 / 7, abs=1.5)
    run.close()


def opened(parts: dict[str, list[PreferencePair]], config: TrainConfig) -> Heldout:
    mixture = Mixture(parts, dict.fromkeys(parts, 100))
    return Heldout(mixture, Tokenizer.load("embedded"), layout_of(config.data), config)


def test_a_sample_has_equally_many_pairs_of_each_source(config):
    assert heldout.even_parts({"a": 100, "b": 3, "c": 50}, 30) == {"b": 3, "c": 13, "a": 14}
    assert heldout.even_parts({"a": 10, "b": 3}, 100) == {"b": 3, "a": 10}
    assert heldout.even_parts({"a": 10, "b": 10}, 2) == {"a": 1, "b": 1}
    config = dataclasses.replace(with_data(config, max_length=99), eval_pairs=30)
    found = opened({"a": make_pairs(0, 100), "b": make_pairs(1, 3), "c": make_pairs(2, 50)}, config)
    assert found.facts.group_sizes == {"a": 14, "b": 3, "c": 13}


def test_a_source_without_held_out_pairs_is_named(config, caplog):
    too_long = [dataclasses.replace(pair, chosen="x " * 99) for pair in make_pairs(1, 3)]
    found = opened({"a": make_pairs(0, 10), "b": too_long, "c": []}, config)
    assert list(found.facts.group_sizes) == ["a"]
    assert "no pairs of b, c, which is not evaluated" in caplog.text


def test_documents_of_code_and_of_pairs_are_mixed(config, folders, tmp_path, caplog):
    """A language model on a folder of code and one of pairs: counted and evaluated in pieces, by source."""
    code = [
        SourceFile(content_id(str(i)), "x = 1\n" * (i + 1), "", "", "file", "python", "", "", "", 1)
        for i in range(12)
    ]
    splits = {
        "train": write_split(tmp_path / "code", "train", code, 1),
        "heldout": write_split(tmp_path / "code", "heldout", code[:4], 1),
    }
    write_manifest(tmp_path / "code", SourceFile, splits, {})
    mixture = (f"code={tmp_path / 'code'}:1", f"small={folders['small']}:1")
    config = dataclasses.replace(
        config,
        workdir=str(tmp_path / "run"),
        data=dataclasses.replace(
            config.data, mixture=mixture, layout="packed", length_policy="split"
        ),
        loss=LmConfig(),
        checkpoint=CheckpointConfig(),
        num_steps=2,
        eval_every_steps=2,
    )
    caplog.set_level(logging.INFO, "codepmp_jax")
    last = loop.train(config)
    for what, total in (("data_pieces", "data_pieces"), ("data_records", "data_records")):
        assert sum(last[f"{what}/{name}"] for name in ("code", "small")) == last[total] > 0
    assert last["heldout_pieces/code"] + last["heldout_pieces/small"] == last["heldout_pieces"]
    assert last["heldout_pieces/code"] >= 4
    assert last["heldout_pieces/small"] >= 2 * 6
    assert not [name for name in last if "accuracy" in name or "pairs" in name]
    assert "mixture: 50.00 % of the documents are of code" in caplog.text
    assert "documents read" in caplog.text
    # How the pairs are written is what scorers need to know.
    assert json.loads((tmp_path / "run" / "texts.json").read_text())["form"] == "text"
