"""What may differ between two starts of a run, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import shutil

import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, PmpConfig, TrainConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.text.tokenizer_files import EMBEDDED
from codepmp_jax.training import loop
from codepmp_jax.training.identity import check_same_run
from tests.training.reference import tiny_config
from tests.training.runs import rows

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed = 1 (checkpoint: 0)"),
        ({"model__mlp_dim": 64}, "model.mlp_dim = 64 (checkpoint: 48)"),
        ({"data": DataConfig(max_length=32)}, "data.max_length = 32 (checkpoint: 24)"),
    ],
)
def test_another_run_is_not_resumed(changes, named):
    with pytest.raises(UserError) as raised:
        check_same_run(tiny_config(**changes), tiny_config(), "run")
    assert named in str(raised.value)
    free = tiny_config(model__remat="none", model__attention="blocked", model__attention_block=64)
    check_same_run(free, tiny_config(), "run")


def with_tokenizer(config: TrainConfig, folder: pathlib.Path | str) -> TrainConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=str(folder)))


def swap_ids(folder: pathlib.Path) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    vocabulary = definition["model"]["vocab"]
    one, other = [token for token, number in vocabulary.items() if number > 300][:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(definition))


def add_template(folder: pathlib.Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")


def change_special(folder: pathlib.Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"pad_token": settings["eos_token"]}))


def lay_out_anew(folder: pathlib.Path) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    truncation = {"max_length": 7, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    definition |= {"truncation": truncation}
    path.write_text(json.dumps(dict(sorted(definition.items())), indent=4))


def forget_parts(copy: TrainConfig, monkeypatch) -> None:
    """Makes the run's checkpoints those of a version that did not record what the tokenizer is."""
    restore = Checkpointer.restore_data

    def without(self, step=None):
        return {name: value for name, value in restore(self, step).items() if name != "tokenizer"}

    monkeypatch.setattr(Checkpointer, "restore_data", without)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (swap_ids, "vocabulary"),
        (add_template, "chat template"),
        (change_special, "special tokens"),
        (lay_out_anew, None),
    ],
)
def test_a_run_is_resumed_with_the_same_tokenizer_only(
    copy, tmp_path, monkeypatch, change, named, is_old
):
    """By content: also at another path. What the run was trained with stays in its folder."""
    folder, own = tmp_path / "tokenizer", pathlib.Path(copy.workdir) / "tokenizer"
    shutil.copytree(EMBEDDED, folder)
    if is_old:
        forget_parts(copy, monkeypatch)
    assert loop.train(with_tokenizer(copy, folder)) == {}
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    change(folder)
    if named is None:
        assert loop.train(with_tokenizer(copy, folder)) == {}
        return
    with pytest.raises(UserError, match=rf"data\.tokenizer = .* differs in its {named}\. Remedy"):
        loop.train(with_tokenizer(copy, folder))
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    # The remedies.
    assert loop.train(with_tokenizer(copy, own)) == {}
    allowed = dataclasses.replace(with_tokenizer(copy, folder), allow_config_change=True)
    assert loop.train(allowed) == {}
    kept = own.with_name("tokenizer.before1")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert Tokenizer.load(str(own)).parts() == Tokenizer.load(str(folder)).parts()


def test_a_tokenizer_that_is_gone_is_that_of_the_workdir(copy, tmp_path, caplog):
    folder = tmp_path / "tokenizer"
    shutil.copytree(EMBEDDED, folder)
    moved = dataclasses.replace(
        with_tokenizer(copy, folder), num_steps=7, eval_pairs=0, workdir=copy.workdir
    )
    loop.train(moved)
    shutil.rmtree(folder)
    assert loop.train(moved) == {}
    with pytest.raises(UserError, match="no such folder"):
        loop.train(with_tokenizer(moved, tmp_path / "never"))


def notes_of(config: TrainConfig) -> list[str]:
    path = pathlib.Path(config.workdir) / "notes.txt"
    return [line[20:] for line in path.read_text().splitlines()] if path.exists() else []


def test_what_a_start_changes_is_said_in_the_log_and_in_the_notes(finished, copy, tmp_path, caplog):
    heldout = list(ShardedDataset(copy.data.input, PreferencePair, "heldout"))
    train = list(ShardedDataset(copy.data.input, PreferencePair, "train"))
    folder = tmp_path / "pairs"
    splits = {
        "train": write_split(folder, "train", train, 2),
        "heldout": write_split(folder, "heldout", heldout[:4], 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    caplog.set_level(logging.INFO, "codepmp_jax")
    changed = dataclasses.replace(
        copy,
        data=dataclasses.replace(copy.data, input=str(folder)),
        loss=PmpConfig(lm_chunk_tokens=56, lm_coef=0.0),
        optimizer=dataclasses.replace(copy.optimizer, learning_rate=1.0),
        log_every_steps=7,
    )
    assert loop.train(changed) == {}
    expected = [
        f"changed at step 6: workdir: {finished.workdir!r} -> {copy.workdir!r}",
        f"changed at step 6: data.input: {copy.data.input!r} -> {str(folder)!r}",
        "changed at step 6: loss.lm_coef: 1.0 -> 0.0",
        "changed at step 6: optimizer.learning_rate: 0.01 -> 1.0",
        "changed at step 6: log_every_steps: 1 -> 7",
    ]
    assert notes_of(copy)[:-1] == expected
    assert "held-out pairs: shards" in notes_of(copy)[-1]
    assert [line for line in caplog.messages if line.startswith("changed")] == notes_of(copy)


def test_fewer_steps_than_are_done_are_refused(copy):
    with pytest.raises(UserError, match=r"num_steps = 5: .* step 6\. Remedy: give 6 or more"):
        loop.train(dataclasses.replace(copy, num_steps=5))
    assert loop.train(copy) == {}


def test_saved_configs_hold_what_was_asked_for(finished):
    """Not what was chosen for the chip."""
    saved = Checkpointer(finished.workdir).restore_config()["model"]
    written = json.loads((pathlib.Path(finished.workdir) / "config.json").read_text())["model"]
    for model in (saved, written):
        assert (model["attention"], model["attention_block"]) == ("auto", None)


NOT_ACCOUNTS = [b"", b"\0" * 40, b"{", b"[]", b"null", b"7", b"{}", b'{"seconds": 3}', b"\xff\xfe"]


@pytest.mark.parametrize("name", ["goodput.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", NOT_ACCOUNTS)
def test_damaged_accounts_do_not_stop_a_run(copy, name, content):
    path = pathlib.Path(copy.workdir) / name
    path.write_bytes(content + b"\n" if content and name == "metrics.jsonl" else content)
    assert loop.train(copy) == {}
    if content or name == "goodput.json":
        assert path.with_name(f"{name}.damaged").exists()
    assert loop.train(copy) == {}
    if name == "goodput.json":
        assert json.loads(path.read_text())["starts"] == 2


def test_damaged_rows_are_left_out_and_the_others_kept(copy):
    path = pathlib.Path(copy.workdir) / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "\0\0\0", '{"loss": 1}', *lines[4:]]) + "\n")
    assert loop.train(copy) == {}
    assert [row["step"] for row in rows(copy)] == [1, 2, 5, 6]


@pytest.mark.parametrize("name", ["goodput.json", "metrics.jsonl", "tensorboard"])
def test_something_else_in_place_of_accounts_does_not_stop_a_run(copy, name):
    path = pathlib.Path(copy.workdir) / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("no folder")
    else:
        path.unlink()
        (path / "folder").mkdir(parents=True)
    (pathlib.Path(copy.workdir) / "notes.txt").mkdir()
    assert loop.train(copy) == {}
    assert path.with_name(f"{name}.damaged").exists()


def test_names_that_tensorboard_did_not_give_are_no_matter(copy):
    (pathlib.Path(copy.workdir) / "tensorboard" / "events.out.tfevents.x").touch()
    assert loop.train(copy) == {}
