"""From source code to a finetuned reward model, by the commands that a user types."""

from __future__ import annotations

import json
import math
import pathlib
import shutil
import sysconfig
from typing import Any

import jax
import matplotlib.image
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from codepmp_jax.config import DataConfig
from codepmp_jax.conversion.export import load_run
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.records.shards import ShardedDataset
from tests import processes
from tests.e2e.launching import checkpoint_steps, command, environment, launch, metrics

NUM_STEPS = 6


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> pathlib.Path:
    """The folder of a whole quickstart on a package of the standard library."""
    root = tmp_path_factory.mktemp("quickstart")
    package = pathlib.Path(sysconfig.get_path("stdlib"), "email")
    shutil.copytree(package, root / "sources" / package.name)
    output = root / "output"
    launch(
        "quickstart.py",
        "--input",
        root / "sources",
        "--output",
        output,
        "--num-steps",
        NUM_STEPS,
    )
    return output


@pytest.fixture(scope="module")
def summary(quickstart) -> dict[str, Any]:
    return json.loads((quickstart / "summary.json").read_text(encoding="utf-8"))


def opened(model_class: Any, folder: str) -> Any:
    """The folder's model, none of whose weights had to be made up."""
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    return model


# --- the quickstart -------------------------------------------------------------------------------


def test_summary_has_the_figures_of_the_run(quickstart, summary):
    assert {
        "seconds",
        "num_pairs",
        "accuracy",
        "length_baseline",
        "best_of_n",
        "hf_folder",
        "plot",
    } <= set(summary)
    pairs = [ShardedDataset(quickstart / "pairs", PreferencePair, s) for s in ("train", "heldout")]
    assert summary["num_pairs"] == sum(map(len, pairs))
    assert min(map(len, pairs)) >= 16
    assert summary["seconds"] > 0
    assert 0.45 <= summary["length_baseline"] <= 0.55
    assert 0 <= summary["accuracy"] <= 1
    assert list(summary["best_of_n"]) == ["2", "4", "8", "16"]
    assert all(0 <= value <= 1 for value in summary["best_of_n"].values())
    assert pathlib.Path(summary["hf_folder"]) == quickstart / "hf"


def test_the_plot_is_a_picture(summary):
    image = matplotlib.image.imread(summary["plot"])
    assert min(image.shape[:2]) > 200
    assert image[..., :3].std() > 0.01


def test_no_source_is_in_both_splits(quickstart):
    for folder, record, paths_of in (
        ("corpus", SourceFile, lambda source: source.path),
        ("pairs", PreferencePair, lambda pair: pair.lineage["path"]),
    ):
        train, heldout = (
            {paths_of(item) for item in ShardedDataset(quickstart / folder, record, split)}
            for split in ("train", "heldout")
        )
        assert train
        assert heldout
        assert not train & heldout


def test_training_starts_at_chance_and_logs_every_step(quickstart):
    rows = metrics(quickstart / "train")
    assert [row["step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    assert rows[0]["pair_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["lm_loss"] < rows[0]["lm_loss"]
    assert "eval_accuracy" in rows[-1]


def test_the_folder_opens_as_a_reward_model_with_the_reported_scores(quickstart, summary):
    model = opened(AutoModelForSequenceClassification, summary["hf_folder"])
    tokenizer: Any = AutoTokenizer.from_pretrained(summary["hf_folder"])
    lines = (quickstart / "pair_scores.jsonl").read_text(encoding="utf-8").splitlines()
    scores = {(row["item_id"], row["index"]): row for row in map(json.loads, lines)}
    heldout = ShardedDataset(quickstart / "pairs", PreferencePair, "heldout")
    assert len(scores) == 2 * len(heldout)
    whole = [pair for pair in heldout if scores[pair.pair_id, 0]["num_tokens"] < 200]
    assert len(whole) >= 8
    for pair in whole[:8]:
        for index, response in enumerate((pair.chosen, pair.rejected)):
            text = DataConfig().template.format(prompt=pair.prompt, response=response)
            with torch.no_grad():
                reward = model(**tokenizer(text, return_tensors="pt")).logits.item()
            assert reward == pytest.approx(scores[pair.pair_id, index]["reward"], abs=1e-5)


def test_the_folder_opens_as_a_language_model_that_has_learnt(quickstart, summary):
    model = opened(AutoModelForCausalLM, summary["hf_folder"])
    tokenizer: Any = AutoTokenizer.from_pretrained(summary["hf_folder"])
    heldout = ShardedDataset(quickstart / "pairs", PreferencePair, "heldout")
    losses = []
    for pair in (heldout[index] for index in range(4)):
        text = DataConfig().template.format(prompt=pair.prompt, response=pair.chosen)
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            losses.append(model(**tokens, labels=tokens["input_ids"]).loss.item())
    assert np.mean(losses) < metrics(quickstart / "train")[0]["lm_loss"]


# --- finetuning on conversations ------------------------------------------------------------------


def conversation(number: int) -> dict[str, Any]:
    """A row of TRL's conversational preference format; every other one with an implicit prompt."""
    prompt = [{"role": "user", "content": f"Write a function that adds {number} to x."}]
    if number % 3 == 0:
        prompt.insert(0, {"role": "system", "content": "You write Python."})
    chosen, rejected = (
        [{"role": "assistant", "content": f"def add(x):\n    return x {sign} {number}"}]
        for sign in "+-"
    )
    if number % 2:
        return {"chosen": prompt + chosen, "rejected": prompt + rejected}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": 0.5}


ROWS = [conversation(number) for number in range(16)]
FINETUNING_STEPS = 32
BATCH_PAIRS = 4


@pytest.fixture(scope="module")
def conversations(tmp_path_factory) -> pathlib.Path:
    """ROWS as pair shards."""
    folder = tmp_path_factory.mktemp("conversations")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    output = folder / "pairs"
    printed = launch("import_pairs.py", "--input", folder / "rows.jsonl", "--output", output)
    assert printed.startswith(f"{len(ROWS)} pairs of 1 file(s)")
    return output


def finetuning(workdir: pathlib.Path, summary, conversations) -> list[object]:
    """Options of launch/tpu_pod.py for a run on the conversations in file order."""
    return [
        "--config",
        "rm_tiny",
        "--workdir",
        workdir,
        "--model.init-from",
        summary["hf_folder"],
        "--data.input",
        conversations,
        "--data.max-length",
        96,
        "--data.no-shuffle",
        "--global-batch-rows",
        BATCH_PAIRS,
        "--num-steps",
        FINETUNING_STEPS,
        "--eval-pairs",
        0,
        "--log-every-steps",
        1,
        "--checkpoint.every-steps",
        2,
    ]


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, summary, conversations) -> pathlib.Path:
    """A run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("finetuned")
    launch("tpu_pod.py", *finetuning(workdir, summary, conversations))
    return workdir


def test_export_gives_back_the_conversations(conversations, tmp_path):
    output = tmp_path / "pairs.jsonl"
    launch("export_pairs.py", "--input", conversations, "--output", output)
    exported = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(exported) == len(ROWS)
    for row, theirs in zip(exported, ROWS, strict=True):
        prompt = theirs.get("prompt", [])
        assert row["prompt"]
        for side in ("chosen", "rejected"):
            assert row["prompt"] + row[side] == prompt + theirs[side]
        assert row["margin"] == theirs.get("margin", 0)


def test_finetuning_starts_from_the_folder_with_its_score_head(finetuned, summary):
    """The rewards before the first update are PyTorch's, through transformers' chat template."""
    model = opened(AutoModelForSequenceClassification, summary["hf_folder"])
    tokenizer: Any = AutoTokenizer.from_pretrained(summary["hf_folder"])

    def reward(messages: list[dict[str, str]]) -> float:
        tokens = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            return model(**tokens).logits.item()

    batch = ROWS[:BATCH_PAIRS]
    chosen, rejected = (
        np.array([reward(row.get("prompt", []) + row[side]) for row in batch])
        for side in ("chosen", "rejected")
    )
    assert np.abs(chosen).min() > 1e-3
    first = metrics(finetuned)[0]
    assert first["reward_chosen"] == pytest.approx(chosen.mean(), abs=1e-5)
    assert first["reward_rejected"] == pytest.approx(rejected.mean(), abs=1e-5)
    margins = np.array([row.get("margin", 0) for row in batch])
    losses = np.logaddexp(0, margins - (chosen - rejected))
    assert first["pair_loss"] == pytest.approx(losses.mean(), abs=1e-5)
    assert metrics(finetuned)[-1]["pair_loss"] < first["pair_loss"]


def test_killed_and_started_again_equals_undisturbed(finetuned, summary, conversations, tmp_path):
    """kill -9 between two checkpoints, then the same command: the same metrics and parameters."""
    options = finetuning(tmp_path, summary, conversations)
    with processes.Process(command("tpu_pod.py", *options), environment()) as process:
        process.until(lambda: len(metrics(tmp_path)) >= 5 and checkpoint_steps(tmp_path))
        process.kill()
    assert len(metrics(tmp_path)) < FINETUNING_STEPS
    launch("tpu_pod.py", *options)
    assert metrics(tmp_path) == metrics(finetuned)
    assert [row["step"] for row in metrics(tmp_path)] == list(range(1, FINETUNING_STEPS + 1))
    (_, step, ours), (_, _, theirs) = (
        load_run(str(workdir), None) for workdir in (tmp_path, finetuned)
    )
    assert step == FINETUNING_STEPS
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
