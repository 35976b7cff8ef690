"""How fast a CPU multiplies the training step's matrices, in PyTorch and in jax: what bounds train_step.py there.

    python benchmarks/cpu_matmuls.py --size 10m --write

A process a core, each with one thread, all at work at once, as in a step; PyTorch's and jax's take turns. Products of a
micro batch's tokens with a layer's kernels and the LM head, and of their gradients, in float32. The machine must be idle.
Prints a table and one line of JSON; `--write` writes both to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from page import Page
from step_contestants import SIZES

LIBRARIES: tuple[str, ...] = ("torch", "jax")
Shape = tuple[int, int, int]
"""Rows of the first factor, what is summed over, columns of the second."""


def shapes(size: str, tokens: int) -> dict[str, list[Shape]]:
    """What is multiplied -> its product, and those of the inputs' and the kernel's gradients."""
    model = SIZES[size]
    heads = model.num_heads * model.head_dim
    kernels = {
        "query, output": (model.embed_dim, heads),
        "gate, up": (model.embed_dim, model.mlp_dim),
        "down": (model.mlp_dim, model.embed_dim),
        "LM head": (model.embed_dim, model.vocab_size),
    }
    return {
        name: list(dict.fromkeys([(tokens, i, o), (tokens, o, i), (i, tokens, o)]))
        for name, (i, o) in kernels.items()
    }


def multiplier(library: str, a: np.ndarray, b: np.ndarray) -> Callable[[], object]:
    """Multiplies them, to the end."""
    if library == "torch":
        import torch

        torch.set_num_threads(1)
        left, right = torch.tensor(a), torch.tensor(b)
        return lambda: left @ right
    import jax

    first, second = jax.device_put((a, b))
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: multiply(first, second).block_until_ready()


def measure(library: str, core: int, shape: Shape, seconds: float) -> float:
    """FLOP/s of products of this shape on one core: the median over `seconds`."""
    os.sched_setaffinity(0, {core})
    rng = np.random.default_rng(0)
    rows, inner, columns = shape
    a, b = (rng.standard_normal(size, np.float32) for size in ((rows, inner), (inner, columns)))
    multiply = multiplier(library, a, b)
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end:
        start = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - start)
    return 2 * rows * inner * columns / statistics.median(times)


def on_all_cores(library: str, shape: Shape, seconds: float) -> float:
    """Mean FLOP/s a core."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps([library, core, shape, seconds])],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for core in sorted(os.sched_getaffinity(0))
    ]
    rates = [float(process.communicate()[0]) for process in processes]
    return statistics.mean(rates)


def main() -> None:
    """Measures every product in each library, and prints the table."""
    parser = argparse.ArgumentParser(description="Compares matmuls of PyTorch and jax on a CPU.")
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--tokens", type=int, default=4096, help="of a micro batch on a device")
    parser.add_argument("--seconds", type=float, default=3, help="of each product, in each turn")
    parser.add_argument("--write", action="store_true", help="write to benchmarks/results/")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(measure(*arguments.child))
        return
    page = Page("cpu_matmuls", "Matmuls of the training step on a CPU")
    lines = ["| product | " + " | ".join(f"{name}, GFLOP/s a core" for name in LIBRARIES) + " |"]
    lines.append("|---" * (1 + len(LIBRARIES)) + "|")
    flops, seconds = 0, dict.fromkeys(LIBRARIES, 0.0)
    rates: dict[str, dict[str, float]] = {}
    for name, products in shapes(arguments.size, arguments.tokens).items():
        for rows, inner, columns in products:
            label = f"{name}: {rows} x {inner} x {columns}"
            print(label, file=sys.stderr)
            rates[label] = {
                library: on_all_cores(library, (rows, inner, columns), arguments.seconds)
                for library in LIBRARIES
            }
            work = 2 * rows * inner * columns
            flops += work
            for library, rate in rates[label].items():
                seconds[library] += work / rate
            cells = [f"{rate / 1e9:.0f}" for rate in rates[label].values()]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    cells = [f"**{flops / seconds[library] / 1e9:.0f}**" for library in LIBRARIES]
    lines.append(f"| one after the other | {' | '.join(cells)} |")
    note = "All cores at work, one thread each, in float32; the median over a few seconds."
    tables = "\n".join(lines)
    print(page.write(note, tables, rates=rates) if arguments.write else tables)


if __name__ == "__main__":
    main()
