"""Pairs a second of the training step, in each layout, against PyTorch on the same pairs.

    python benchmarks/train_step.py --size 10m --write
    python benchmarks/train_step.py --size 1b5 --device gpu --step-pairs 64 --write

Contestants, each a process of its own: `authors` is the authors' step in PyTorch, rows padded to 1024;
`authors_longest` the same, padded to the longest row of a micro batch; `best_torch` PyTorch without padding, and
`best_torch_compiled` through torch.compile too; `ours_...` codepmp_jax's step in a layout. All start from the same
parameters, and no time is taken before their losses and gradient norms of a first step agree. On a CPU they then
take turns, a step each, so that drift hits all of them; on a GPU, whose memory would not hold them all, one trains
after the other. Batches are made beforehand. The machine must be idle: PyTorch's threads wait for one another, so
that a neighbour on one core costs them several times its share; `cores` shows how many were at work. Prints a table
and one line of JSON; `--write` writes both to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from page import RESULTS, ROOT, Page
from step_contestants import CONTESTANTS, LOSSES, SIZES, Setup

from codepmp_jax.config import ModelConfig
from codepmp_jax.devices import chips
from codepmp_jax.models.flops import train_flops
from codepmp_jax.models.preference import abstract_params

# How far losses and gradient norms may differ from the first contestant's, of themselves.
TOLERANCES = {"cpu": 1e-4, "gpu": 2e-2}

Row = dict[str, Any]
"""A contestant's answer."""


class Child:
    """A contestant's process."""

    def __init__(self, name: str, setup: Setup, script: str = "step_contestants.py"):
        on_gpu = setup.device == "gpu" and name.startswith("ours")
        self.name = name
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "benchmarks" / script),
                name,
                json.dumps(dataclasses.asdict(setup)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                # In PyTorch's processes jax only draws the parameters.
                "JAX_PLATFORMS": "cuda" if on_gpu else "cpu",
                "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92",
                # A device a core: attention on the CPU is a loop that takes one.
                "JAX_NUM_CPU_DEVICES": str(os.cpu_count() or 1),
            },
        )
        self.about = self._answer()

    def ask(self, question: str) -> Row:
        """Has it train a step."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Row:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends it and waits for its end."""
        self._process.kill()
        self._process.wait()


def check(first: Row, row: Row, name: str, tolerance: float, losses: Sequence[str]) -> None:
    """Ends the program where a contestant computes something else than the first one."""
    for figure in losses:
        if abs(row[figure] - first[figure]) > tolerance * abs(first[figure]):
            raise SystemExit(f"{name}: {figure} is {row[figure]}, the first one's {first[figure]}")


def compete(
    names: list[str],
    setup: Setup,
    script: str = "step_contestants.py",
    losses: Sequence[str] = LOSSES,
) -> tuple[dict[str, Row], dict[str, Row], dict[str, list[Row]]]:
    """(what each says of itself, its answer to `check`, its turns after one to warm up)."""
    about: dict[str, Row] = {}
    checks: dict[str, Row] = {}
    rounds: dict[str, list[Row]] = {name: [] for name in names}
    for group in [names] if setup.device == "cpu" else [[name] for name in names]:
        with contextlib.ExitStack() as stack:
            children = []
            for name in group:
                child = stack.enter_context(contextlib.closing(Child(name, setup, script)))
                children.append(child)
                about[name], checks[name] = child.about, child.ask("check")
                first, tolerance = next(iter(checks.values())), TOLERANCES[setup.device]
                check(first, checks[name], name, tolerance, losses)
                child.ask("turn")
            for _ in range(setup.num_turns - 1):
                for child in children:
                    rounds[child.name].append(child.ask("turn"))
    return about, checks, rounds


def num_params(model: ModelConfig) -> int:
    """Parameters of a model."""
    _, shapes, _ = abstract_params(model)
    return sum(math.prod(shape.shape) for shape in jax.tree.leaves(shapes))


def spread(values: list[float], form: str = ".2f") -> str:
    """Smallest, median and largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{low:{form}} - **{middle:{form}}** - {high:{form}}"


def figures(
    setup: Setup, about: dict[str, Row], checks: dict[str, Row], rounds: dict[str, list[Row]]
) -> dict[str, Row]:
    """Contestant -> its figures, of all rounds where they are lists."""
    result = {}
    for name, turns in rounds.items():
        peak = chips.chip_of(about[name]["device_kind"]).peak_flops
        rates = [
            train_flops(
                setup.model,
                tokens=turn["useful_tokens"],
                keys=turn["useful_keys"],
                labels=turn["labels"],
                pairs=turn["pairs"],
            )
            / turn["seconds"]
            for turn in turns
        ]
        result[name] = {
            **about[name],
            "pairs_per_second": [turn["pairs"] / turn["seconds"] for turn in turns],
            "useful_tokens_per_second": [turn["useful_tokens"] / turn["seconds"] for turn in turns],
            "cores": [turn["cpu_seconds"] / turn["seconds"] for turn in turns],
            "useful_flops_per_second": rates,
            "useful_mfu": None if peak is None else [rate / peak for rate in rates],
            "peak_gib": turns[-1]["peak_bytes"] / 2**30,
            "first_step_seconds": checks[name]["seconds"],
            **{key: checks[name][key] for key in LOSSES},
        }
    return result


def ratios(result: dict[str, Row]) -> Iterator[tuple[str, str, list[float]]]:
    """(one of ours, one in PyTorch, how many times its pairs a second, round by round)."""
    for name, row in result.items():
        for other, base in result.items():
            if name.startswith("ours") and not other.startswith("ours"):
                both = zip(row["pairs_per_second"], base["pairs_per_second"], strict=True)
                yield name, other, [mine / theirs for mine, theirs in both]


def tables(result: dict[str, Row]) -> str:
    """Two Markdown tables: contestants, and ours against PyTorch's."""
    lines = [
        "| contestant | pairs/s | cores | useful tokens/s | useful GFLOP/s | useful MFU | peak GiB "
        "| first step, s |",
        "|---" * 8 + "|",
    ]
    for name, row in result.items():
        rates = [rate / 1e9 for rate in row["useful_flops_per_second"]]
        mfu = "-" if row["useful_mfu"] is None else spread(row["useful_mfu"], ".1%")
        cells = [
            name,
            spread(row["pairs_per_second"]),
            f"{statistics.median(row['cores']):.2f}",
            spread(row["useful_tokens_per_second"], ".0f"),
            spread(rates, ".0f"),
            mfu,
            f"{row['peak_gib']:.1f}",
            f"{row['first_step_seconds']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    others = [name for name in result if not name.startswith("ours")]
    lines += [
        "",
        f"| times the pairs/s of | {' | '.join(others)} |",
        "|---" * (len(others) + 1) + "|",
    ]
    compared = {(name, other): spread(values) for name, other, values in ratios(result)}
    for name in result:
        if name.startswith("ours"):
            cells = " | ".join(compared[name, other] for other in others)
            lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the contest, then prints and perhaps writes the tables."""
    parser = argparse.ArgumentParser(description="Times training steps against PyTorch's.")
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--step-pairs", type=int, default=16, help="pairs of an optimizer step")
    parser.add_argument("--rounds", type=int, default=5, help="steps timed, of each contestant")
    parser.add_argument("--micro-tokens", type=int, default=8192, help="tokens of a micro batch")
    parser.add_argument("--remat", default="save_mlp_attention", help="model.remat of our step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=[*CONTESTANTS])
    parser.add_argument("--write", action="store_true", help="write to benchmarks/results/")
    options = vars(parser.parse_args())
    page = Page("train_step", "Pairs a second of the training step, against PyTorch")
    names, write = options.pop("contestants"), options.pop("write")
    setup = Setup(num_turns=options.pop("rounds") + 1, **options)
    result = figures(setup, *compete(names, setup))
    if not write:
        print(tables(result))
        print(json.dumps(result))
        return
    kind = next(iter(result.values()))["device_kind"]
    versions = ", ".join(sorted({row["version"] for row in result.values()}))
    note = (
        f"{versions}, on {kind}. A Qwen2 of {num_params(setup.model) / 1e6:.0f} M parameters in "
        f"{setup.model.compute_dtype}, AdamW; {setup.step_pairs} pairs a step, or as many packed rows as hold about as "
        f"many; micro batches of {setup.micro_tokens} tokens; our remat {setup.remat}. Random tokens, lengths of "
        "`codepmp_jax/text/lengths.py`. Least, **median** and largest over the rounds; ratios are taken within a round. "
        "Useful is what is left when padding is not computed and the tokens that both texts of a pair begin with "
        "only once (`codepmp_jax/models/flops.py`). `cores` is the CPU time over the wall time; `first step` includes the compilation. Losses and gradient norms "
        f"of the first step agree within {TOLERANCES[setup.device]:.0e}."
    )
    print(page.write(note, tables(result), contestants=result))
    # A table of each device.
    chip = chips.chip_of(kind).name
    (RESULTS / "train_step.md").replace(RESULTS / f"train_step_{chip}.md")


if __name__ == "__main__":
    main()
