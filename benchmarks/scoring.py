"""Seconds to score candidates in PyTorch, against the authors' way, on the same candidates and threads.

    python benchmarks/scoring.py --write
    python benchmarks/scoring.py --device cuda --dtypes bfloat16 --problems 16 --write

The authors' way: two texts at a time in the order of the file, padded to the longer one. Contestants take turns in
one process, so that drift hits all of them. Times are CPU seconds, of which a busy neighbour takes none; with one
thread (the default) they are also what the machine would need if it were idle. On a GPU they are wall seconds. Rewards
must agree first. Prints two tables and one line of JSON; `--write` writes them to `benchmarks/results/scoring_DEVICE.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from page import RESULTS, Page
from transformers import Qwen2Config, Qwen2ForSequenceClassification

from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ScorerConfig
from codepmp_jax.evaluation.scorers.pieces import ATTENTION
from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer
from codepmp_jax.text.forms import TextForm
from codepmp_jax.text.lengths import draw_lengths
from codepmp_jax.text.tokenization import Tokenizer

MAX_LENGTH = 1024
VOCAB = 4096
# How far float32 rewards may differ from the authors', of the largest one.
TOLERANCE = 1e-4

Rows = list[np.ndarray]
Device = Literal["cpu", "cuda"]


def sampled(num_problems: int, num_candidates: int, seed: int) -> Rows:
    """Candidates that have the prompt in common, and nothing else."""
    rng = np.random.default_rng(seed)
    lengths = draw_lengths(num_problems * num_candidates, MAX_LENGTH, seed)
    rows = []
    for problem in range(num_problems):
        prompt = rng.integers(VOCAB, size=lengths.prompt[problem])
        for candidate in range(num_candidates):
            size = lengths.chosen[problem * num_candidates + candidate]
            response = rng.integers(VOCAB, size=min(size, MAX_LENGTH - len(prompt)))
            rows.append(np.concatenate([prompt, response]).astype(np.int32))
    return rows


def edited(num_problems: int, num_candidates: int, seed: int) -> Rows:
    """Candidates that are one response with another token at one place, as mutants of a solution are."""
    rng = np.random.default_rng(seed)
    lengths = draw_lengths(num_problems, MAX_LENGTH, seed)
    rows = []
    for prompt, response in zip(lengths.prompt, lengths.chosen, strict=True):
        row = rng.integers(VOCAB, size=prompt + response).astype(np.int32)
        for place in rng.choice(np.arange(prompt, len(row)), num_candidates):
            other = row.copy()
            other[place] = (row[place] + rng.integers(1, VOCAB)) % VOCAB
            rows.append(other)
    return rows


WORKLOADS = {"sampled": sampled, "edited": edited}


def network(attention: str, dtype: torch.dtype, device: Device) -> Qwen2ForSequenceClassification:
    """A Qwen2 of 88 M parameters without its embedding, the same in every call."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=2,
        initializer_range=0.05,
        pad_token_id=0,
    )
    config.num_labels = 1
    config._attn_implementation = attention
    model = Qwen2ForSequenceClassification(config).eval()
    # Parameters alone: the frequencies of the rotary embedding stay float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    torch.nn.Module.to(model, device)
    return model


class Authors:
    """Two rows at a time, padded on the right to the longer one."""

    def __init__(self, dtype: torch.dtype, device: Device):
        self._network = network("sdpa", dtype, device)
        self._device = device
        self.num_computed = 0

    @torch.inference_mode()
    def __call__(self, rows: Rows) -> np.ndarray:
        """The rewards."""
        rewards = []
        for start in range(0, len(rows), 2):
            batch = rows[start : start + 2]
            lengths = torch.tensor([len(row) for row in batch])
            tokens = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
            for place, row in zip(tokens, batch, strict=True):
                place[: len(row)] = torch.from_numpy(row)
            mask = torch.arange(tokens.shape[1]) < lengths[:, None]
            tokens, mask = tokens.to(self._device), mask.to(self._device)
            hidden = self._network.model(tokens, attention_mask=mask.long(), use_cache=False)
            last = hidden.last_hidden_state[torch.arange(len(batch)), lengths - 1]
            rewards += self._network.score(last)[:, 0].float().tolist()
            self.num_computed += tokens.numel()
        return np.array(rewards, np.float32)


class Ours:
    """codepmp_jax's scorer."""

    def __init__(self, dtype: torch.dtype, device: Device):
        model = network(ATTENTION, dtype, device)
        self._scorer = TorchScorer(
            model.base_model,
            model.score.weight.detach(),
            Tokenizer.load("embedded"),
            TextForm("text", max_length=MAX_LENGTH),
            ScorerConfig(device=device),
        )

    @property
    def num_computed(self) -> int:
        """Tokens, padding included."""
        return self._scorer.num_computed

    def __call__(self, rows: Rows) -> np.ndarray:
        """The rewards; equal rows are scored once, as the command does."""
        places = {row.tobytes(): place for place, row in enumerate(rows)}
        distinct = [rows[place] for place in places.values()]
        rewards = np.zeros(len(distinct), np.float32)
        for done, values in self._scorer.rewards(distinct):
            rewards[done] = values
        of_row = dict(zip(places, rewards, strict=True))
        return np.array([of_row[row.tobytes()] for row in rows])


def compete(rows: Rows, contestants: dict[str, Callable], rounds: int) -> dict[str, dict]:
    """Name -> CPU and wall seconds of each round, and tokens computed in one."""
    result: dict[str, dict] = {
        name: {"cpu_seconds": [], "wall_seconds": []} for name in contestants
    }
    expected: np.ndarray | None = None
    for _ in range(rounds):
        for name, score in progress(contestants.items(), desc="round", unit="contestant"):
            before = score.num_computed
            cpu, wall = time.process_time(), time.perf_counter()
            rewards = score(rows)
            result[name]["cpu_seconds"].append(time.process_time() - cpu)
            result[name]["wall_seconds"].append(time.perf_counter() - wall)
            result[name]["tokens"] = score.num_computed - before
            expected = rewards if expected is None else expected
            error = float(np.abs(rewards - expected).max() / np.abs(expected).max())
            result[name]["error"] = error
            if "float32" in name and error > TOLERANCE:
                raise SystemExit(f"{name}: rewards differ by {error:.1e}")
    return result


def tables(result: dict[str, dict[str, dict]], texts: dict[str, int], clock: str) -> str:
    """A Markdown table a workload: the least, median and largest of the rounds' ratios of `clock`_seconds."""
    lines = []
    for workload, contestants in result.items():
        lines += [
            f"**{workload}** ({texts[workload]} tokens)",
            "",
            f"| contestant | {clock} s | times as fast | tokens computed | error |",
            "|---|---|---|---|---|",
        ]
        base = next(iter(contestants.values()))[f"{clock}_seconds"]
        for name, row in contestants.items():
            ratios = [
                theirs / ours for theirs, ours in zip(base, row[f"{clock}_seconds"], strict=True)
            ]
            shown = f"{min(ratios):.2f} - **{statistics.median(ratios):.2f}** - {max(ratios):.2f}"
            seconds = statistics.median(row[f"{clock}_seconds"])
            cells = (name, f"{seconds:.1f}", shown, str(row["tokens"]), f"{row['error']:.1e}")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def main() -> None:
    """Runs the contest, then prints and perhaps writes the tables."""
    parser = argparse.ArgumentParser(description="Times scoring against the authors' way.")
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=16, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--write", action="store_true", help="write to benchmarks/results/")
    options = parser.parse_args()
    page = Page("scoring", "Seconds to score candidates, against the authors' way")
    torch.set_num_threads(options.threads)
    contestants = {
        f"{kind.__name__.lower()}_{dtype}": kind(getattr(torch, dtype), options.device)
        for dtype in options.dtypes
        for kind in (Authors, Ours)
    }
    result, texts = {}, {}
    for name, make in WORKLOADS.items():
        rows = make(options.problems, options.candidates, options.seed)
        texts[name] = sum(map(len, rows))
        result[name] = compete(rows, contestants, options.rounds)
    shown = tables(result, texts, "cpu" if options.device == "cpu" else "wall")
    if not options.write:
        print(shown, json.dumps(result), sep="\n")
        return
    device = "cpu" if options.device == "cpu" else torch.cuda.get_device_name()
    note = (
        f"PyTorch {torch.__version__}, {options.threads} thread(s), {device}; a Qwen2 of 12 layers and width 768; "
        f"{options.problems} problems with {options.candidates} candidates each, lengths of "
        "`codepmp_jax/text/lengths.py`. The candidates of `sampled` have the prompt in common, those of `edited` are one "
        "response with one token changed. `error` is the largest difference from the first contestant's rewards, of "
        "the largest reward; times as fast as the first contestant: least, **median** and largest over the rounds."
    )
    print(page.write(note, shown, workloads=result, tokens=texts))
    (RESULTS / "scoring.md").replace(RESULTS / f"scoring_{options.device}.md")


if __name__ == "__main__":
    main()
