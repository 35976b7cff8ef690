"""Every preset of a training run, shrunk in its sizes, through the stages that read what others wrote: train,
resume elsewhere, convert, score by both backends, Best-of-N.

Elsewhere: fewer devices, a chip with other defaults, no network, and neither model nor tokenizer where they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import socket
from collections.abc import Iterator

import jax
import numpy as np
import pytest
import tokenizers
import torch
from jax.experimental.compilation_cache import compilation_cache
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import convert, evaluate, train
from codepmp_jax.config import ModelConfig, TrainConfig, presets
from codepmp_jax.config.policy import PolicyConfig
from codepmp_jax.conversion import load
from codepmp_jax.conversion.verify_tokens import verify_tokens
from codepmp_jax.devices import chips
from codepmp_jax.evaluation.scores import read_meta
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem
from codepmp_jax.records.scores import read_scores
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import telemetry
from tests.e2e.launching import checkpoint_steps

PRESETS = sorted(
    path.stem
    for path in presets.CONFIGS.glob("*.py")
    if isinstance(presets.load_preset(path.stem), TrainConfig)
    # Policies need log-probs first (tests/logprobs), and give no rewards to score with.
    and not isinstance(presets.load_preset(path.stem).loss, PolicyConfig)
    and not path.stem.startswith("token_reward_")
    # These differ from others in numbers and paths only (tests/config).
    and not (path.stem.startswith("rm_") and path.stem not in ("rm_tiny", "rm_mathshepherd_7b"))
    and path.stem not in ("pmp_7b_wsd", "pmp_1b5", "lm_tiny")
    # The stages of those of SmolLM2 are run at a small size elsewhere (test_replication.py).
    and not path.stem.endswith("_smollm2")
)
# With a mesh of all devices, and one of parts.
ON_SEVERAL_DEVICES = {"pmp_7b", "rm_tiny"}
# Those that are trained on conversations here; the others are on strings.
OF_CONVERSATIONS = {"pmp_llama31_8b", "rm_tiny"}
# Dimensions of transformers' config.
WIDTH = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
# The same of ours, for a preset that starts from random parameters.
OUR_WIDTH = {
    "embed_dim": 32,
    "mlp_dim": 64,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
}
OTHER_CHIP = chips.Chip("other", ("other",), attention="xla", attention_block=16)
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
DEVICES = jax.devices()


def answers(number: int) -> tuple[str, str, str]:
    """A question, a right answer and a wrong one."""
    return f"{number} + {number} ?", f"It is {2 * number}.", f"Is it {2 * number + 1} ?"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> pathlib.Path:
    """A small tokenizer with a chat template."""
    folder = tmp_path_factory.mktemp("tokenizer")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<eos>", "<user>", "<assistant>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(answers(number)) for number in range(50)], trainer)
    backend.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "<eos>", "pad_token": "<pad>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[bool, pathlib.Path]:
    """Pairs as conversations (True) and as strings."""
    folders = {}
    for is_conversation in (False, True):
        folder = folders[is_conversation] = tmp_path_factory.mktemp("pairs")
        rows = []
        for number in range(200):
            texts = answers(number)
            if is_conversation:
                roles = ("user", "assistant", "assistant")
                texts = [
                    json.dumps([{"role": role, "content": text}])
                    for role, text in zip(roles, texts, strict=True)
                ]
            rows.append(PreferencePair(str(number), *texts, is_conversation=is_conversation))
        splits = {
            "train": write_split(folder, "train", rows[:-8], 2),
            "heldout": write_split(folder, "heldout", rows[-8:], 1),
        }
        write_manifest(folder, PreferencePair, splits, {})
    return folders


@pytest.fixture(scope="module")
def candidates(tmp_path_factory) -> pathlib.Path:
    """Judged candidates, as a file."""
    path = tmp_path_factory.mktemp("candidates") / "candidates.jsonl"
    problems = [
        Problem(str(n), question, (Candidate(right, True), Candidate(wrong, False)))
        for n, (question, right, wrong) in ((n, answers(n)) for n in range(6))
    ]
    path.write_text("".join(problem.to_json() + "\n" for problem in problems))
    return path


def shrunk(config: TrainConfig, folder: pathlib.Path, tokenizer: pathlib.Path) -> TrainConfig:
    """The preset with a small model, few and short rows and few steps; everything else is the preset's."""
    data = dataclasses.replace(
        config.data,
        tokenizer=str(folder / "base") if config.model.init_from else str(tokenizer),
        max_length=64,
        row_length=None if config.data.row_length is None else 160,
        # Pairs that are tokenized, and processes that are started, before the first batch.
        packing_window=4,
        num_workers=0,
        # More than there are devices, on which scoring takes no notice of them.
        num_streams=min(config.data.num_streams, 16),
    )
    model = config.model
    if model.init_from is None:
        model = dataclasses.replace(model, vocab_size=320, **OUR_WIDTH)
    else:
        torch.manual_seed(0)
        hf = AutoConfig.for_model(
            model.family,
            vocab_size=320,
            max_position_embeddings=256,
            initializer_range=0.2,
            **WIDTH,
        )
        kind = AutoModelForCausalLM
        if config.init == "pmp":
            kind, hf.num_labels, hf.pad_token_id = AutoModelForSequenceClassification, 1, 0
        kind.from_config(hf).save_pretrained(folder / "base")
        shutil.copytree(tokenizer, folder / "base", dirs_exist_ok=True)
        model = dataclasses.replace(model, init_from=str(folder / "base"), score_init_std=0.5)
    mesh = dataclasses.replace(config.mesh, fsdp=config.mesh.fsdp if config.mesh.fsdp == -1 else 2)
    checkpoint = dataclasses.replace(config.checkpoint, every_steps=1)
    return dataclasses.replace(
        config,
        workdir=str(folder / "run"),
        model=dataclasses.replace(model, score_init_std=0.5),
        data=data,
        mesh=mesh,
        checkpoint=checkpoint,
        global_batch_rows=16,
        num_steps=2,
        eval_pairs=8,
    )


@contextlib.contextmanager
def devices(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """With only so many devices."""
    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: DEVICES[:number])
        patch.setattr(jax, "device_count", lambda *_: number)
        yield


@contextlib.contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On another chip, without a network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("there is no network here")

    with monkeypatch.context() as patch:
        patch.setattr(chips, "chip_of_device", lambda _: OTHER_CHIP)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """What two presets or two stages compile alike is compiled once."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def run_command(monkeypatch):
    """Runs a command's main in this process."""
    # It would take the log from pytest.
    monkeypatch.setattr(telemetry, "setup_logging", lambda: None)

    def run(main, *arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["codepmp", *map(str, arguments)])
        main()

    return run


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_goes_through_all_stages(
    name, tmp_path, tokenizer, pairs, candidates, run_command, monkeypatch
):
    is_conversation = name in OF_CONVERSATIONS
    config = shrunk(presets.load_preset(name), tmp_path, tokenizer)
    settings = tmp_path / "preset.json"
    settings.write_text(json.dumps(presets.to_json(config)))
    workdir = tmp_path / "run"
    command = ("--config", settings, "--data.input", pairs[is_conversation])

    with devices(monkeypatch, 4):
        run_command(train.main, *command, "--num-steps", 1, "--eval-pairs", 0)
    assert checkpoint_steps(workdir) == [1]

    if config.model.init_from is not None:
        shutil.move(tmp_path / "base", tmp_path / "moved")
    with devices(monkeypatch, 2), elsewhere(monkeypatch):
        run_command(train.main, *command)
    assert 2 in checkpoint_steps(workdir)
    # A run that starts from this one takes its own chip's attention.
    begun = load.resolve(TrainConfig(model=ModelConfig(init_from=str(workdir))))
    assert (begun.model.attention, begun.model.attention_block) == (
        config.model.attention,
        config.model.attention_block,
    )
    shutil.move(pairs[is_conversation], tmp_path / "pairs")

    try:
        folder = tmp_path / "hf"
        run_command(convert.main, "to-hf", "--run", workdir, "--output", folder)
        form = "conversation" if is_conversation else "text"
        own = Tokenizer.load(str(workdir / "tokenizer"))
        assert verify_tokens(folder, own, config, form).texts.num_rows
        if not config.loss.trains_rewards:
            for arguments in (("--model", folder), ("--backend", "jax", "--model", workdir)):
                output = tmp_path / "none.jsonl"
                with pytest.raises(UserError, match=r"score|reward"):
                    run_command(
                        evaluate.main,
                        *("score", *arguments, "--input", candidates, "--output", output),
                    )
            return
        inputs = {"pairs": tmp_path / "pairs", "candidates": candidates}
        scores = {kind: {} for kind in inputs}
        for kind, source in inputs.items():
            output = tmp_path / f"{kind}_torch.jsonl"
            run_command(
                evaluate.main, "score", "--model", folder, "--input", source, "--output", output
            )
            scores[kind]["torch"] = output
            # Scoring depends on none of the settings of training, nor on the devices.
            numbers = {"pairs": (1, 2, 8), "candidates": (8,)}
            if name not in ON_SEVERAL_DEVICES:
                numbers = {"pairs": (8,), "candidates": (1,)}
            for number in numbers[kind]:
                output = tmp_path / f"{kind}_jax_{number}.jsonl"
                with devices(monkeypatch, number):
                    run_command(
                        evaluate.main,
                        *("score", "--backend", "jax", "--model", workdir, "--input", source),
                        *("--output", output, "--scorer.batch-tokens", 64),
                    )
                scores[kind][f"jax {number}"] = output
    finally:
        shutil.move(tmp_path / "pairs", pairs[is_conversation])

    for outputs in scores.values():
        metas = [read_meta(path) for path in outputs.values()]
        assert [meta["form"] for meta in metas] == [form] * len(metas)
        assert [(meta["num_refused"], meta["num_rewritten"]) for meta in metas] == [(0, 0)] * len(
            metas
        )
        expected, *others = (
            [score.reward for score in read_scores(path)] for path in outputs.values()
        )
        assert np.std(expected) > 1e-3
        scale = np.abs(expected).max()
        for rewards in others:
            np.testing.assert_allclose(rewards, expected, atol=1e-4 * scale)

    run_command(
        evaluate.main,
        *("best-of-n", "--candidates", candidates, "--output", tmp_path / "best_of_n"),
        *("--scores", scores["candidates"]["torch"], "--resampling.num-resamples", 10),
    )
    report = json.loads((tmp_path / "best_of_n" / "report.json").read_text())
    assert (report["num_problems"], [row["n"] for row in report["rows"]]) == (6, [1, 2])
