"""A converted folder, taken as it is by the programs that it is for: their scores are those of JAX."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import sysconfig
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from codepmp_jax.config import ConvertConfig, TrainConfig
from codepmp_jax.conversion import export
from codepmp_jax.models.preference import abstract_params, one_text_rows
from codepmp_jax.text.tokenization import Tokenizer
from tests import processes
from tests.conversion.runs import write_run
from tests.e2e.launching import environment
from tests.training.reference import tiny_config

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
NUM_PAIRS = 8
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[TrainConfig, dict]:
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("run")),
        model__vocab_size=4096,
        model__embed_dim=64,
        model__num_heads=2,
        model__num_kv_heads=1,
        # What vLLM's attention on a CPU takes.
        model__head_dim=32,
        data__max_length=512,
    )
    return config, write_run(config)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("folder") / "model"
    return export.to_hf(ConvertConfig(run=run[0].workdir, output=str(output)))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Pairs in RewardBench's and TRL's format: conversations of two messages, of several lengths."""
    lines = pathlib.Path(sysconfig.get_path("stdlib"), "heapq.py").read_text().splitlines()
    found = []
    for number in range(NUM_PAIRS):
        prompt = {"role": "user", "content": f"Write part {number}: {{{{ it }}}}"}
        start = 40 * number
        chosen, rejected = (
            "\n".join(lines[start : start + length]) + "\n"
            for length in (2 + number, NUM_PAIRS - number)
        )
        found.append(
            {
                "chosen": [prompt, {"role": "assistant", "content": chosen}],
                "rejected": [prompt, {"role": "assistant", "content": rejected + "pass"}],
            }
        )
    return found


@pytest.fixture(scope="module")
def pairs(rows, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def texts(run, rows) -> list[str]:
    """The rows' texts as training forms them: chosen and rejected of each pair."""
    template = run[0].data.template
    return [
        template.format(prompt=row[side][0]["content"], response=row[side][1]["content"])
        for row in rows
        for side in ("chosen", "rejected")
    ]


@pytest.fixture(scope="module")
def token_rewards(run, texts) -> list[np.ndarray]:
    """JAX's rewards of each text's tokens."""
    config, params = run
    graph, _, _ = abstract_params(dataclasses.replace(config.model, attention="xla"))
    model = nnx.merge(graph, params)
    tokenizer = Tokenizer.load("embedded")
    encoded = [tokenizer.backend.encode(text).ids for text in texts]
    lengths = np.array([[len(ids)] for ids in encoded])
    assert len(set(lengths.ravel().tolist())) > 8
    mask = np.arange(lengths.max()) < lengths
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate(encoded)
    hidden = model(jnp.asarray(tokens), *one_text_rows(jnp.asarray(mask)))
    places = jnp.broadcast_to(jnp.arange(mask.shape[1]), mask.shape)
    found = np.asarray(model.rewards(hidden, places))
    return [row[:length] for row, length in zip(found, lengths.ravel(), strict=True)]


@pytest.fixture(scope="module")
def rewards(token_rewards) -> np.ndarray:
    """JAX's rewards of the texts: those of their last tokens."""
    found = np.array([row[-1] for row in token_rewards])
    assert np.std(found) > 100 * TOLERANCE
    return found


def run_command(command: list[object], cwd: pathlib.Path | None = None, **variables: str) -> str:
    """Runs a command to its good end; gives its stdout."""
    variables |= {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    done = processes.run(command, environment(**variables), cwd)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def venv(name: str) -> pathlib.Path:
    folder = ROOT / name / "bin"
    assert folder.exists(), f"make test makes it; or make {name}/installed"
    return folder


def test_transformers(folder, rows, rewards):
    """Whole conversations through the folder's chat template, in a padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    conversations = [row[side] for row in rows for side in ("chosen", "rejected")]
    batch = tokenizer.apply_chat_template(
        conversations, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        scores = model(**batch).logits[:, 0].numpy()
    np.testing.assert_allclose(scores, rewards, rtol=TOLERANCE, atol=TOLERANCE)


def test_rewardbench(folder, pairs, rewards, texts, tmp_path):
    """The command `rewardbench` on a local file of pairs."""
    run_command(
        [
            venv(".venv-rewardbench") / "rewardbench",
            "--model",
            folder.name,
            "--dataset",
            pairs,
            "--load_json",
            "--output_dir",
            f"{tmp_path}/",
            "--not_quantized",
            "--torch_dtype",
            "float32",
            "--batch_size",
            3,
            "--max_length",
            512,
        ],
        cwd=folder.parent,
        PYTHONPATH=str(HERE / "rewardbench_on_cpu"),
        HF_DATASETS_CACHE=str(tmp_path / "cache"),
        WANDB_MODE="disabled",
    )
    lines = (tmp_path / f"{folder.name}_outputs.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [text for row in found for text in (row["text_chosen"], row["text_rejected"])] == texts
    scores = np.array([[row["scores_chosen"], row["scores_rejected"]] for row in found]).ravel()
    np.testing.assert_allclose(scores, rewards, rtol=TOLERANCE, atol=TOLERANCE)
    chosen, rejected = rewards.reshape(-1, 2).T
    report = json.loads((tmp_path / f"{folder.name}.json").read_text(encoding="utf-8"))
    assert report["accuracy"] == np.mean(chosen > rejected)


def test_trl(folder, pairs, rewards, tmp_path):
    """RewardTrainer: the first evaluation has JAX's rewards, and training goes on from them."""
    printed = run_command([sys.executable, HERE / "trl_reward_trainer.py", folder, pairs, tmp_path])
    found = json.loads(printed.splitlines()[-1])
    chosen, rejected = rewards.reshape(-1, 2).T
    before = found["before"]
    loss = np.mean(np.logaddexp(0, rejected - chosen))
    assert before["eval_loss"] == pytest.approx(loss, rel=TOLERANCE)
    assert before["eval_mean_reward"] == pytest.approx(np.mean(rewards), abs=TOLERANCE)
    assert before["eval_margin"] == pytest.approx(np.mean(chosen - rejected), abs=TOLERANCE)
    assert before["eval_accuracy"] == np.mean(chosen > rejected)
    assert len(found["losses"]) == 3
    assert np.isfinite(found["losses"]).all()


def test_vllm(run, folder, texts, rewards, token_rewards, tmp_path):
    """The pooling runner's `classify`: raw rewards, not their sigmoid; and token classification of the same run."""
    tokens = ConvertConfig(run=run[0].workdir, output=str(tmp_path / "tokens"), heads="tokens")
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    python, script = venv(".venv-vllm") / "python", HERE / "vllm_classify.py"
    printed = run_command([python, script, folder, path, export.to_hf(tokens)])
    found = json.loads(printed.splitlines()[-1])
    np.testing.assert_allclose(found["scores"], rewards, rtol=TOLERANCE, atol=TOLERANCE)
    for ours, theirs in zip(token_rewards, found["tokens"], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=TOLERANCE, atol=TOLERANCE)
