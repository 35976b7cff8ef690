"""Attention on a GPU: what computes it fastest, and whether all that do agree.

    python benchmarks/gpu_attention.py --write

Rows of pairs that share their prompt, as `pmp_1b5` trains on them, in bfloat16, forward and backward. Contestants:
`xla`, which holds all scores and is the default on GPUs; `pallas_gpu`, the kernels that come with JAX; `cudnn`, its fused
attention by jax.nn.dot_product_attention, with the mask of the row as a bias. Values and gradients are compared with those
of `xla` in float32. `--tiny` tries it at a small size; on a CPU, `pallas_gpu` is interpreted and `cudnn` is left out.
Prints a table and one line of JSON; `--write` writes them to `benchmarks/results/gpu_attention.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from page import Page

from codepmp_jax.aot.workload import synthetic_pairs
from codepmp_jax.config import DataConfig, ModelConfig
from codepmp_jax.config.presets import load_preset
from codepmp_jax.data.batch import concatenate
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.models.attention import attend
from codepmp_jax.models.segments import Segments, visible

Attend = Callable[[jax.Array, jax.Array, jax.Array, Segments], jax.Array]

# Relative error (norms) of what is bfloat16 against float32; one rounding is 2^-9.
TOLERANCE = 2e-2


def rows_of_pairs(data: DataConfig, num_rows: int) -> Segments:
    """The segments of rows that the packer makes of pairs of realistic lengths."""
    layout = layout_of(data)
    pairs = ([pair] for pair in synthetic_pairs(data, 16 * num_rows))
    rows = [packed.row for packed in pack(pairs, layout, 0, new_state())][:num_rows]
    batch = concatenate(rows)
    ids, branches = (
        jnp.asarray(array.reshape(num_rows, -1)) for array in (batch.segments, batch.branches)
    )
    return Segments(ids, branches)


def attend_cudnn(
    query: jax.Array, key: jax.Array, value: jax.Array, segments: Segments
) -> jax.Array:
    """cuDNN's fused attention: no scores in memory, but for the mask no block is skipped."""
    return jax.nn.dot_product_attention(
        query, key, value, mask=visible(segments)[:, None], implementation="cudnn"
    )


def contestants(model: ModelConfig, on_gpu: bool) -> dict[str, Attend]:
    """By name, bfloat16 in and out."""
    found: dict[str, Attend] = {}
    for name in ("xla", "pallas_gpu"):
        config = dataclasses.replace(model, attention=name, attention_block=64)
        found[name] = lambda q, k, v, s, config=config: attend(q, k, v, s, config)
    if on_gpu:
        found["cudnn"] = attend_cudnn
    return found


def measure(
    attention: Attend, arrays: tuple[jax.Array, ...], weights: jax.Array, segments: Segments
) -> tuple[Callable, tuple[jax.Array, ...]]:
    """(the compiled step, (output, gradients of query, key and value)); what padding gives does not count."""
    counted = weights * (segments.ids != 0)[..., None, None]

    @jax.jit
    def step(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, ...]:
        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            output = attention(q, k, v, segments)
            return jnp.sum(output.astype(jnp.float32) * counted), output

        gradients, output = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(query, key, value)
        return output * (counted != 0), *gradients

    return step, jax.block_until_ready(step(*arrays))


def error(found: jax.Array, expected: jax.Array) -> float:
    """Norm of the difference over the norm."""
    found, expected = found.astype(jnp.float32), expected.astype(jnp.float32)
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


def main() -> None:
    """Compares, times, then prints and perhaps writes the table."""
    parser = argparse.ArgumentParser(description="Compares implementations of attention on a GPU.")
    parser.add_argument("--rows", type=int, default=4, help="of 2560 tokens")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="a small size, to try it out")
    parser.add_argument("--write", action="store_true", help="write to benchmarks/results/")
    options = parser.parse_args()
    page = Page("gpu_attention", "Attention on a GPU")
    preset = load_preset("pmp_1b5")
    model, data = preset.model, preset.data
    if options.tiny:
        model = dataclasses.replace(model, num_heads=4, num_kv_heads=2, head_dim=32)
        data = dataclasses.replace(data, max_length=64, row_length=192)
    device = jax.devices()[0]
    segments = rows_of_pairs(data, options.rows)
    shape = segments.ids.shape
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = tuple(
        jax.random.normal(key, (*shape, heads, model.head_dim), jnp.bfloat16)
        for key, heads in zip(keys, (model.num_heads, *[model.num_kv_heads] * 2), strict=False)
    )
    weights = jax.random.normal(keys[3], (*shape, model.num_heads, model.head_dim))
    reference = dataclasses.replace(model, attention="xla")
    with jax.default_matmul_precision("highest"):
        _, expected = measure(
            lambda q, k, v, s: attend(q, k, v, s, reference),
            tuple(array.astype(jnp.float32) for array in arrays),
            weights,
            segments,
        )
    lines = ["| implementation | ms | error: output, dq, dk, dv |", "|---|---|---|"]
    figures = {}
    for name, attention in contestants(model, device.platform == "gpu").items():
        step, found = measure(attention, arrays, weights, segments)
        errors = [error(*both) for both in zip(found, expected, strict=True)]
        if max(errors) > TOLERANCE:
            raise SystemExit(f"{name}: differs from xla in float32 by {max(errors):.1e}")
        times = []
        for _ in range(options.rounds):
            started = time.perf_counter()
            jax.block_until_ready(step(*arrays))
            times.append(1e3 * (time.perf_counter() - started))
        figures[name] = {"ms": times, "errors": errors}
        shown = f"{min(times):.2f} - **{statistics.median(times):.2f}** - {max(times):.2f}"
        lines.append(f"| {name} | {shown} | {', '.join(f'{e:.1e}' for e in errors)} |")
    note = (
        f"jax {jax.__version__} on {device.device_kind}. Forward and backward, {options.rows} rows of {shape[1]} tokens, "
        f"{model.num_heads} query and {model.num_kv_heads} key heads of {model.head_dim}, bfloat16; errors against `xla` in "
        "float32. Least, **median** and largest over the rounds."
    )
    table = "\n".join(lines)
    print(page.write(note, table, implementations=figures) if options.write else table)


if __name__ == "__main__":
    main()
