"""What passes, files and gate cost beside vLLM's own generation, on the same prompts, in one process.

    .venv-vllm/bin/python benchmarks/synthesis_overhead.py --corpus runs/corpus

Each round runs the three passes and the gate of `launch/synthesize.py` with vLLM as every writer, then gives
the same prompts, already tokenized, to `vllm.LLM.generate`, a pass at a time and with an engine each. The model is a Qwen2 of random
weights unless --model names one: it hardly ever ends a text before --max-tokens tokens. Seeds and prompts are
the same on both sides, and so is the work. To start and end engines counts for neither side; the report's
page, which a run draws once however long it is, stands in a row of its own. Prints a table and one line of
JSON, and writes both to `benchmarks/results/synthesis_overhead.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import os
import pathlib
import shutil
import statistics
import tempfile
import time
import unittest.mock as mock
from collections.abc import Callable
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

import transformers
import vllm  # pyright: ignore[reportMissingImports]
from page import Page

from codepmp_jax.config import (
    GateConfig,
    SamplingConfig,
    SynthesisConfig,
    VllmConfig,
    WriterConfig,
)
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.synthesis import pairs
from codepmp_jax.synthesis.writers.vllm_sampler import VllmSampler
from codepmp_jax.text.tokenization import Tokenizer

LLM = vllm.LLM


class TimedLLM(LLM):
    """An engine that sums up the seconds spent in it and remembers how it was made and what it was asked."""

    generating = 0.0
    made_with: dict[str, Any] = {}  # noqa: RUF012
    asked: list[list[tuple[Any, Any]]] = []  # noqa: RUF012

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        TimedLLM.made_with = options
        TimedLLM.asked.append([])

    def enqueue(self, prompt: Any, params: Any, **options: Any) -> Any:
        """Part of generating: vLLM checks and queues the prompt."""
        TimedLLM.asked[-1].append((prompt, params.clone()))
        started = time.perf_counter()
        result = super().enqueue(prompt, params, **options)
        TimedLLM.generating += time.perf_counter() - started
        return result

    def wait_for_completion(self, **options: Any) -> Any:
        """The rest of generating."""
        started = time.perf_counter()
        result = super().wait_for_completion(**options)
        TimedLLM.generating += time.perf_counter() - started
        return result


class Stopwatch:
    """Sums up the seconds that functions take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def make_model(folder: pathlib.Path, arguments: argparse.Namespace) -> pathlib.Path:
    """A Qwen2 of random weights with the embedded tokenizer."""
    tokenizer = Tokenizer.load("embedded")
    config = transformers.Qwen2Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=arguments.hidden_size,
        intermediate_size=3 * arguments.hidden_size,
        num_hidden_layers=arguments.num_layers,
        num_attention_heads=arguments.hidden_size // 64,
        num_key_value_heads=arguments.hidden_size // 64,
        dtype="float32",
    )
    transformers.set_seed(0)
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def make_corpus(folder: pathlib.Path, corpus: str, num_sources: int) -> None:
    """The first sources of a corpus, in one shard."""
    train = ShardedDataset(corpus, SourceFile, "train")
    sources = list(itertools.islice(train, num_sources))
    splits = {"train": write_split(folder, "train", sources, 1), "heldout": []}
    write_manifest(folder, SourceFile, splits, {})


def run_pipeline(config: SynthesisConfig) -> dict[str, float]:
    """Seconds of the pipeline and its parts, without starts and ends of engines; pairs."""
    shutil.rmtree(config.output, ignore_errors=True)
    TimedLLM.generating, TimedLLM.asked = 0.0, []
    engines, page = Stopwatch(), Stopwatch()
    with (
        mock.patch.object(vllm, "LLM", TimedLLM),
        mock.patch.object(VllmSampler, "_load", engines(VllmSampler._load)),
        mock.patch.object(VllmSampler, "close", engines(VllmSampler.close)),
        mock.patch.object(pairs, "write_page", page(pairs.write_page)),
    ):
        started = time.perf_counter()
        report = pairs.synthesize(config)
        seconds = time.perf_counter() - started - engines.seconds - page.seconds
    assert report is not None
    return {
        "pipeline": seconds,
        "in_engine": TimedLLM.generating,
        "beside": seconds - TimedLLM.generating,
        "page": page.seconds,
        "pairs": report["train"]["pairs"],
    }


def figures(row: dict[str, float], alone: float, num_sources: int) -> dict[str, float]:
    """The figures of one round."""
    return {
        "vLLM alone, s": alone,
        "pipeline, s": row["pipeline"],
        "of that in the engine, s": row["in_engine"],
        "of that beside the engine, s": row["beside"],
        "beside / in the engine": row["beside"] / row["in_engine"],
        "pipeline / vLLM alone - 1": row["pipeline"] / alone - 1,
        "beside the engine, ms a source": 1000 * row["beside"] / num_sources,
        "report's page, once a run, s": row["page"],
        "pairs": row["pairs"],
    }


def run_alone(model: str) -> float:
    """Seconds of LLM.generate on what the pipeline asked, by a new engine for each pass."""
    seconds = 0.0
    for asked in TimedLLM.asked:
        prompts, params = zip(*asked, strict=True)
        engine = LLM(model, **TimedLLM.made_with)
        started = time.perf_counter()
        engine.generate(list(prompts), list(params), use_tqdm=False)
        seconds += time.perf_counter() - started
        engine.llm_engine.engine_core.shutdown()
        vllm.distributed.cleanup_dist_env_and_memory()
    return seconds


def table(rounds: list[dict[str, float]]) -> str:
    """A Markdown table: a row a figure, the rounds and their median."""
    lines = [
        "| figure |" + "".join(f" round {i + 1} |" for i in range(len(rounds))) + " median |",
        "|---" * (len(rounds) + 2) + "|",
    ]
    for name, form in (
        ("vLLM alone, s", "{:.2f}"),
        ("pipeline, s", "{:.2f}"),
        ("of that in the engine, s", "{:.2f}"),
        ("of that beside the engine, s", "{:.2f}"),
        ("beside / in the engine", "{:.1%}"),
        ("pipeline / vLLM alone - 1", "{:+.1%}"),
        ("beside the engine, ms a source", "{:.2f}"),
        ("report's page, once a run, s", "{:.2f}"),
    ):
        values = [row[name] for row in rounds]
        cells = [form.format(value) for value in [*values, statistics.median(values)]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the rounds, then prints and writes the table."""
    parser = argparse.ArgumentParser(description="Times the synthesis against vLLM alone.")
    parser.add_argument("--corpus", required=True, help="folder of SourceFile shards")
    parser.add_argument("--model", help="Hugging Face folder; a random one if not given")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-layers", type=int, default=4)
    parser.add_argument("--num-sources", type=int, default=256)
    parser.add_argument("--chunk-size", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    page = Page(
        "synthesis_overhead",
        "What synthesis costs beside vLLM's generation",
        python=".venv-vllm/bin/python",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = arguments.model or str(make_model(folder / "model", arguments))
        make_corpus(folder / "corpus", arguments.corpus, arguments.num_sources)
        engine = VllmConfig(dtype="float32", max_model_len=2048, enforce_eager=True)
        writer = WriterConfig(
            sampler="vllm",
            model=model,
            template="Instruction:{code}{description}",
            sampling=SamplingConfig(max_tokens=arguments.max_tokens),
            vllm=engine,
        )
        config = SynthesisConfig(
            input=str(folder / "corpus"),
            output=str(folder / "pairs"),
            describe=dataclasses.replace(writer, template="Describe:{code}"),
            chosen=writer,
            rejected=writer,
            # Every text reaches max_tokens: the gate shall do all of its work on each pair.
            gate=GateConfig(drop_cut_off=False),
            chunk_size=arguments.chunk_size,
        )
        rounds = []
        for _ in range(arguments.rounds):
            row = run_pipeline(config)
            alone = run_alone(model)
            rounds.append(figures(row, alone, arguments.num_sources))
    shape = f"a random Qwen2 of {arguments.num_layers} layers of {arguments.hidden_size}"
    beside = statistics.median(row["beside the engine, ms a source"] for row in rounds)
    note = (
        f"vLLM {vllm.__version__}. {arguments.num_sources} sources, three texts of {arguments.max_tokens} "
        f"tokens each by {arguments.model or shape}; {rounds[-1]['pairs']:.0f} pairs came out of the last "
        "round. `beside the engine` is everything but vLLM: reading sources, prompts and their tokens, files "
        "of texts, gate, pairs, report's figures. The row with both sides compares two wall times, with all "
        f"that other work on the machine does to them. With {beside:.1f} ms a source it stays below 5 % of "
        f"generation while an engine writes fewer than {3 * 50 / beside:.0f} texts a second."
    )
    print(page.write(note, table(rounds), rounds=rounds))


if __name__ == "__main__":
    main()
