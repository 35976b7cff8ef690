"""Runs on conversations: pairs that the chat template refuses, the date that it writes, and what the log says."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, TrainConfig
from codepmp_jax.config.data import DataConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import loop, run
from tests.training.reference import tiny_config
from tests.training.runs import rows

pytestmark = pytest.mark.usefixtures("compiled_once")

TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ strftime_now('%d %b %Y') + '\n' }}{% for m in messages %}{{ m.role + '\n' + m.content + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


def conversation(i: int) -> PreferencePair:
    """Pair i; every 7th has a system message."""
    role = "system" if i % 7 == 6 else "user"
    texts = (
        json.dumps([{"role": one, "content": text}])
        for one, text in ((role, f"{i}?"), ("assistant", f"{i}!"), ("assistant", "no"))
    )
    return PreferencePair(f"c{i}", *texts, is_conversation=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("conversations")
    tokenizer = dataclasses.replace(Tokenizer.load("embedded"), chat_template=TEMPLATE)
    tokenizer.save(folder / "tokenizer")
    pairs = [conversation(i) for i in range(40)]
    splits = {
        "train": write_split(folder, "train", pairs, 1),
        "heldout": write_split(folder, "heldout", pairs[:14], 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return tiny_config(
        model__vocab_size=4096,
        data=DataConfig(
            input=str(folder), tokenizer=str(folder / "tokenizer"), max_length=32, shuffle=False
        ),
        checkpoint=CheckpointConfig(every_steps=2),
        global_batch_rows=8,
        num_steps=4,
        log_every_steps=1,
        eval_pairs=14,
    )


def test_refused_pairs_and_the_date_of_a_run_that_resumes(config, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "codepmp_jax")
    monkeypatch.setattr(run, "today", lambda: "2024-07-06")
    whole = dataclasses.replace(config, workdir=str(tmp_path / "whole"))
    loop.train(whole)
    log = caplog.text
    assert "the chat template writes the date: 2024-07-06" in log
    assert "held out: evaluating on 12 of 14 pairs; dropped: 2 refused" in log
    assert "held out, 12 of 14 pairs: eval_accuracy" in log
    assert "'System role not supported' (2 pairs, e.g. c6)" in log  # of the held-out pairs
    assert (
        "step 1: left out, as the chat template or the tokenizer refuses: 'System role not supp"
        in log
    )
    assert "step 4: 37 training pairs read, 32 in rows; dropped: 5 refused" in log
    found = rows(whole)
    assert [row["data_refused"] for row in found] == [1, 2, 3, 5]
    assert (found[-1]["heldout_pairs"], found[-1]["heldout_refused"]) == (12, 2)
    template = Tokenizer.load(f"{whole.workdir}/tokenizer").render(
        [{"role": "user", "content": ""}]
    )
    assert template.startswith("06 Jul 2024\n")
    saved = json.loads((pathlib.Path(whole.workdir) / "config.json").read_text())
    assert saved["data"]["date"] == "2024-07-06"

    parted = dataclasses.replace(config, workdir=str(tmp_path / "parted"))
    half = dataclasses.replace(parted, num_steps=2)
    loop.train(half)
    monkeypatch.setattr(run, "today", lambda: "2025-12-24")
    texts = []
    original = Tokenizer.render
    monkeypatch.setattr(
        Tokenizer,
        "render",
        lambda self, *args, **kwargs: texts.append(original(self, *args, **kwargs)) or texts[-1],
    )
    loop.train(parted)
    assert texts
    assert all(text.startswith("06 Jul 2024\n") for text in texts)
    for ours, theirs in zip(rows(parted)[2:], found[2:], strict=True):
        assert ours["data_refused"] == theirs["data_refused"]
        assert ours["data_pairs"] == theirs["data_pairs"]
    # A day that was given is kept to, and another one is another run.
    other = dataclasses.replace(parted, data=dataclasses.replace(parted.data, date="2025-12-24"))
    with pytest.raises(UserError, match=r"data\.date = '2025-12-24' \(checkpoint: '2024-07-06'\)"):
        loop.train(other)


def test_refused_pairs_stop_a_run_at_its_start_where_they_are_to(config, tmp_path):
    data = dataclasses.replace(config.data, refused_policy="stop")
    stopped = dataclasses.replace(config, workdir=str(tmp_path), data=data, eval_pairs=0)
    with pytest.raises(UserError, match="pair c6: System role not supported"):
        loop.train(stopped)
    assert not (tmp_path / "checkpoints").exists()
