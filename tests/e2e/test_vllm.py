"""Synthesis by language models in vLLM: its engine, its server, and actors of a Ray cluster.

Two code LMs are trained by our own trainer and converted by our own converter. vLLM runs in an environment
of its own, `.venv-vllm`, which `make test` makes.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sysconfig
import urllib.request
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from tests import processes
from tests.e2e.launching import LAUNCH, environment, launch, metrics

VLLM_PYTHON = LAUNCH.parent / ".venv-vllm" / "bin" / "python"
VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
SPLITS = ("train", "heldout")
NUM_SOURCES, NUM_HELDOUT = 200, 24
# The trainer's own row, so that the models can follow it.
TEMPLATE = "Instruction:{}\n\nResponse:"
MAX_TOKENS = 32
# On a CPU vLLM fails on requests with seeds where it chunks prompts; the offline sampler sees to it itself.
SERVER = (
    "--dtype",
    "float32",
    "--max-model-len",
    512,
    "--enforce-eager",
    "--no-enable-chunked-prefill",
)
# The whole chain of a fixture, on a busy machine; each command has a limit of its own.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> pathlib.Path:
    """A corpus of short definitions of the standard library."""
    folder = tmp_path_factory.mktemp("vllm")
    stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
    for package in ("asyncio", "concurrent", "email", "http", "json", "logging", "urllib", "xml"):
        shutil.copytree(stdlib / package, folder / "code" / package)
    launch(
        "corpus.py",
        "--config",
        "corpus_stdlib",
        "--input",
        folder / "code",
        "--output",
        folder / "everything",
        "--max-chars",
        200,
    )
    return folder / "everything"


@pytest.fixture(scope="module")
def models(everything) -> dict[str, pathlib.Path]:
    """A strong and a weak LM: description -> code."""
    folder = everything.parent
    launch(
        "synthesize.py",
        "--config",
        "synth_ngram",
        "--input",
        everything,
        "--output",
        folder / "ngram_pairs",
    )
    common = (
        "--config",
        "pmp_tiny",
        "--data.input",
        folder / "ngram_pairs",
        "--data.append-eos",
        "--data.max-length",
        96,
        "--loss.rm-coef",
        0,
        "--global-batch-rows",
        8,
        "--eval-pairs",
        0,
    )
    weak = ("--model.num-layers", 1, "--model.embed-dim", 64, "--model.mlp-dim", 128)
    written = {}
    for name, steps, dims in (("strong", 100, ("--model.num-layers", 2)), ("weak", 40, weak)):
        run, written[name] = folder / f"{name}_run", folder / name
        launch("tpu_pod.py", *common, *dims, "--workdir", run, "--num-steps", steps)
        launch("convert.py", "to-hf", "--run", run, "--output", written[name])
    losses = {name: metrics(folder / f"{name}_run")[-1]["lm_loss"] for name in written}
    assert losses["strong"] < losses["weak"]
    return written


@pytest.fixture(scope="module")
def corpus(everything) -> pathlib.Path:
    """200 of the sources in five shards."""
    folder = everything.parent / "corpus"
    train, heldout = (ShardedDataset(everything, SourceFile, split) for split in SPLITS)
    num_train = NUM_SOURCES - NUM_HELDOUT
    splits = {
        "train": write_split(folder, "train", [train[i] for i in range(num_train)], 4),
        "heldout": write_split(folder, "heldout", [heldout[i] for i in range(NUM_HELDOUT)], 1),
    }
    write_manifest(folder, SourceFile, splits, {})
    return folder


def writer(name: str, sampler: str, model: object, *more: object) -> tuple[object, ...]:
    """Options of a pass."""
    subject = "{code}" if name == "describe" else "{description}"
    options = (
        "sampler",
        sampler,
        "model",
        model,
        "chat",
        "never",
        "template",
        TEMPLATE.format(subject),
        "sampling.max-tokens",
        MAX_TOKENS,
        *more,
    )
    if sampler == "vllm":
        options += ("vllm.dtype", "float32", "vllm.max-model-len", 512)
    named = [f"--{name}.{value}" if i % 2 == 0 else value for i, value in enumerate(options)]
    return (*named, f"--{name}.vllm.enforce-eager")


def synthesis(corpus: pathlib.Path, output: pathlib.Path, *options: object) -> list[str]:
    """The command that writes pairs with vLLM's interpreter."""
    assert VLLM_PYTHON.exists(), "make test makes it; or make .venv-vllm/installed"
    # Pairs of models as small as these are short of any quality: as many as can be are kept.
    common = ("--input", corpus, "--output", output, "--gate.no-drop-cut-off", *options)
    return [str(VLLM_PYTHON), str(LAUNCH / "synthesize.py"), *map(str, common)]


def run(command: list[str]) -> str:
    """Runs a command to its good end; gives its stdout."""
    done = processes.run(command, environment(**VARIABLES))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def pairs_of(output: pathlib.Path) -> dict[str, PreferencePair]:
    """Source id -> pair."""
    found = [pair for split in SPLITS for pair in ShardedDataset(output, PreferencePair, split)]
    by_source = {pair.source_id: pair for pair in found}
    assert len(by_source) == len(found)
    return by_source


def rejects_of(output: pathlib.Path) -> dict[str, str]:
    """Source id -> reason."""
    rows = [
        json.loads(line)
        for path in (output / "rejects").glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {row["source_id"]: row["reason"] for row in rows}


def sources_of(corpus: pathlib.Path) -> dict[str, SourceFile]:
    found = [source for split in SPLITS for source in ShardedDataset(corpus, SourceFile, split)]
    return {source.source_id: source for source in found}


def require_all(corpus: pathlib.Path, output: pathlib.Path) -> None:
    """Every source gave a pair or a reject, none gave both, and most gave a pair."""
    pairs, rejects = pairs_of(output), rejects_of(output)
    assert pairs.keys().isdisjoint(rejects)
    assert pairs.keys() | rejects.keys() == sources_of(corpus).keys()
    assert len(pairs) > NUM_SOURCES / 2, rejects


# --- the engine -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine_pairs(corpus, models) -> pathlib.Path:
    """The pairs of three passes, each by vLLM's offline engine."""
    output = corpus.parent / "engine_pairs"
    printed = run(
        synthesis(
            corpus,
            output,
            *writer("describe", "vllm", models["weak"]),
            *writer("chosen", "vllm", models["strong"], "sampling.temperature", 0),
            *writer("rejected", "vllm", models["weak"]),
        )
    )
    assert "pairs" in printed.splitlines()[-1]
    return output


def test_the_engine_writes_all_three_texts(corpus, engine_pairs, models):
    require_all(corpus, engine_pairs)
    pairs = pairs_of(engine_pairs)
    seeds = set()
    for pair in pairs.values():
        for name, model in (("describe", "weak"), ("chosen", "strong"), ("rejected", "weak")):
            facts = pair.lineage[name]
            assert (facts["sampler"], facts["model"]) == ("vllm", model)
            assert (facts["max_tokens"], facts["top_p"]) == (MAX_TOKENS, 1)
            assert facts["finish_reason"] in ("stop", "length")
            assert 0 < facts["num_tokens"] <= MAX_TOKENS
            assert facts["num_prompt_tokens"] > 0
            seeds.add(facts["seed"])
        assert pair.lineage["chosen"]["revision"] != pair.lineage["rejected"]["revision"]
    assert len(seeds) == 3 * len(pairs)


def test_the_engine_computes_what_transformers_computes(engine_pairs, models):
    """The most probable tokens after each other: the converted folder is the same model to both."""
    tokenizer = AutoTokenizer.from_pretrained(models["strong"])
    model: Any = AutoModelForCausalLM.from_pretrained(models["strong"])
    for pair in list(pairs_of(engine_pairs).values())[:8]:
        batch = tokenizer(TEMPLATE.format(pair.prompt), return_tensors="pt")
        num_prompt = batch["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = model.generate(**batch, do_sample=False, max_new_tokens=MAX_TOKENS)[0]
        assert pair.lineage["chosen"]["num_prompt_tokens"] == num_prompt
        assert pair.chosen == tokenizer.decode(tokens[num_prompt:], skip_special_tokens=True)


def test_the_pairs_feed_the_trainer(engine_pairs, tmp_path):
    launch(
        "tpu_pod.py",
        "--config",
        "pmp_tiny",
        "--data.input",
        engine_pairs,
        "--data.max-length",
        128,
        "--global-batch-rows",
        8,
        "--workdir",
        tmp_path,
        "--num-steps",
        3,
        "--eval-pairs",
        16,
        "--model.num-layers",
        1,
    )
    rows = metrics(tmp_path)
    assert len(rows) == 3
    assert rows[0]["pair_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "eval_accuracy" in rows[-1]


def test_a_reward_model_is_refused_in_one_line(corpus, models, tmp_path):
    shutil.copytree(models["weak"], tmp_path / "reward")
    config = json.loads((tmp_path / "reward" / "config.json").read_text())
    config["architectures"] = ["Qwen2ForSequenceClassification"]
    (tmp_path / "reward" / "config.json").write_text(json.dumps(config))
    options = writer("rejected", "vllm", tmp_path / "reward")
    done = processes.run(synthesis(corpus, tmp_path / "pairs", *options), environment(**VARIABLES))
    assert done.returncode == 2
    assert "is a reward model" in done.stderr.splitlines()[-1]
    assert "--heads lm" in done.stderr.splitlines()[-1]


def test_the_engine_writes_candidates_that_are_judged(models, tmp_path):
    """A benchmark from its problems to judged candidates; a run that is cut short goes on where it was."""
    problems, candidates, judged = (tmp_path / f"{name}.jsonl" for name in ("p", "c", "j"))
    launch(
        "evaluate.py",
        "problems",
        "--task",
        "reasoning_gym",
        "--output",
        problems,
        "--puzzles.num-problems",
        2,
        "--puzzles.num-candidates",
        0,
    )
    command = [
        str(VLLM_PYTHON),
        str(LAUNCH / "candidates.py"),
        *map(str, ("--input", problems, "--output", candidates, "--num-candidates", 4)),
        *map(str, ("--chunk-size", 8, *writer("writer", "vllm", models["strong"])[:6])),
        *map(str, ("--writer.sampling.max-tokens", MAX_TOKENS, "--writer.vllm.dtype", "float32")),
        *map(str, ("--writer.vllm.max-model-len", 512, "--writer.vllm.enforce-eager")),
    ]
    run(command)
    written = [json.loads(line) for line in candidates.read_text().splitlines()]
    assert [row["problem_id"] for row in written] == [
        json.loads(line)["problem_id"] for line in problems.read_text().splitlines()
    ]
    texts = [candidate["response"] for row in written for candidate in row["candidates"]]
    assert len(texts) == 4 * len(written)
    assert sum(map(bool, texts)) > len(texts) / 2
    launch("evaluate.py", "judge", "--input", candidates, "--output", judged)
    verdicts = json.loads((tmp_path / "j.verdicts.json").read_text())
    rows = [json.loads(line) for line in judged.read_text().splitlines()]
    found = [candidate for row in rows for candidate in row["candidates"]]
    assert len(found) == len(texts)
    assert all(isinstance(candidate["is_correct"], bool) for candidate in found)
    assert verdicts


# --- the server -----------------------------------------------------------------------------------


class Served(NamedTuple):
    """What a server's clients left: the pairs, and what a request for another model ended with."""

    pairs: pathlib.Path
    refused: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def served(corpus, models) -> Served:
    """The author's code against a writer behind vLLM's server, which ends before other engines start."""
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    command = (
        VLLM_PYTHON,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        models["weak"],
        "--served-model-name",
        "writer",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        *SERVER,
    )
    pairs = corpus.parent / "server_pairs"

    def options(model: str) -> tuple[object, ...]:
        return writer("rejected", "openai", model, "openai.endpoints", f"{url}/v1")

    with processes.Process(command, environment(**VARIABLES)) as server:
        server.until(lambda: is_healthy(url))
        run(synthesis(corpus, pairs, *options("writer")))
        other = synthesis(corpus, corpus.parent / "other", *options("other"))
        return Served(pairs, processes.run(other, environment(**VARIABLES)))


def is_healthy(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
    except OSError:
        return False


def test_the_server_writes(corpus, served):
    require_all(corpus, served.pairs)
    sources = sources_of(corpus)
    for pair in pairs_of(served.pairs).values():
        assert pair.chosen == sources[pair.source_id].content
        facts = pair.lineage["rejected"]
        assert (facts["sampler"], facts["model"]) == ("openai", "writer")
        assert 0 < facts["num_tokens"] <= MAX_TOKENS


def test_a_model_that_the_server_lacks_is_one_error(served):
    assert served.refused.returncode == 2
    assert "refuses model 'other'" in served.refused.stderr.splitlines()[-1]


# --- Ray ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_pairs(corpus, models) -> pathlib.Path:
    """The same by engines in two Ray actors, one of which is killed after its first chunk."""
    output = corpus.parent / "ray_pairs"
    command = synthesis(
        corpus,
        output,
        *writer("rejected", "vllm", models["weak"]),
        "--engine",
        "ray",
        "--workers",
        2,
        "--chunk-size",
        10,
    )
    chunks = output / "passes" / "rejected"

    def written() -> list[pathlib.Path]:
        return [*chunks.glob("*/0*.array_record.json")]

    variables = environment(**VARIABLES, RAY_USAGE_STATS_ENABLED="0")
    with processes.Process(command, variables) as process:
        process.until(written)
        host, _, pid = json.loads(written()[0].read_text())["worker"].rpartition("-")
        assert host == socket.gethostname()
        os.kill(int(pid), signal.SIGKILL)
        assert process.wait() == 0, f"{process.stdout}\n{process.stderr}"
    workers = {
        json.loads(path.read_text())["worker"] for path in chunks.glob("*/[0-9]*.array_record.json")
    }
    assert len(workers) >= 2
    return output


def test_a_killed_actor_loses_nothing(corpus, ray_pairs):
    require_all(corpus, ray_pairs)
    assert not any("error" in reason for reason in rejects_of(ray_pairs).values())


def test_server_and_actors_write_the_same(ray_pairs, served):
    """The seeds of the requests are the same; only rounding, which depends on the batch, is not."""
    ours, theirs = pairs_of(ray_pairs), pairs_of(served.pairs)
    both = ours.keys() & theirs.keys()
    same = [source for source in both if ours[source].rejected == theirs[source].rejected]
    assert len(same) > 0.9 * len(both)
    assert len(both) > 0.9 * max(len(ours), len(theirs))
