"""How fast the attention kernels are on each chip, by the schedule that the compiler writes for a block of scores.

    python benchmarks/kernel_schedules.py --write

Needs no TPU, but `pip install -e '.[tpu]'`. Compiles the gradient of splash attention alone, with pmp_7b's heads and one of its
rows, some 20 s a chip, and reads the number of bundles (instructions that start together, one a cycle) of each kernel.
`Chip.kernel_efficiency` has its figures.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from page import ROOT, Page

from codepmp_jax.aot.attention import MATMULS
from codepmp_jax.cli.progress import progress
from codepmp_jax.devices.chips import CHIPS

SLICES = {"v4": "2x2x2", "v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2", "tpu7x": "2x2x1"}
# TensorCores of what jax counts as a device. Only steps of a grid that may run in any order are shared by them: JAX says
# so of the forward kernel's heads, and of nothing in the other two (splash_attention_kernel.py, dimension_semantics).
CORES = {"v4": 2, "v5p": 2}
ON_ALL_CORES = ("_fwd",)
BLOCK = 512
_BUNDLES = re.compile(r"total scheduled bundles:\s*(\d+)")


def compile_kernels(topology: str) -> None:
    """Compiles them for one device of a slice. libtpu writes their schedules where LIBTPU_INIT_ARGS says."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from codepmp_jax.aot.topology import describe
    from codepmp_jax.config.presets import load_preset
    from codepmp_jax.models.segments import Options, Segments
    from codepmp_jax.models.splash import attend_splash

    chip, devices = describe(topology)
    train = load_preset("pmp_7b")
    model, length = train.model, train.data.row_length
    mesh = jax.sharding.Mesh(np.array(devices[:1]), ("device",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    options = Options(scale=1.0, block=BLOCK, max_text=train.data.max_length)

    def loss(query, key, value, ids, branches):
        output = attend_splash(query, key, value, Segments(ids, branches), options)
        return jnp.sum(output.astype(jnp.float32) ** 2)

    def of(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=everywhere)

    heads = [
        of((number, 1, length, model.head_dim), jnp.bfloat16)
        for number in (model.num_heads, model.num_kv_heads, model.num_kv_heads)
    ]
    segments = [of((1, length), jnp.int32)] * 2
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    lowered = gradient.trace(*heads, *segments).lower(lowering_platforms=("tpu",))
    lowered.compile(compiler_options=dict(chip.compiler_options))


def schedules(topology: str) -> dict[str, int]:
    """Bundles of each kernel, by a part of its name."""
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("LIBTPU_INIT_ARGS", "")
        dump = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        subprocess.run(
            [sys.executable, __file__, "--compile", topology],
            env={**os.environ, "LIBTPU_INIT_ARGS": f"{given} {dump}"},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        found = {}
        for path in pathlib.Path(folder).glob("*splash*schedule-analysis_final_bundles.txt"):
            part = next(part for part in MATMULS if part in path.name)
            match = _BUNDLES.search(path.read_text(encoding="utf-8"))
            assert match is not None, path
            found[part] = int(match[1])
    return found


def efficiency(chip_name: str, part: str, bundles: int, head_dim: int = 128) -> float:
    """Share of the device's peak: the FLOPs of a block over what the device could do in so many cycles."""
    chip = CHIPS[chip_name]
    assert chip.peak_flops is not None
    assert chip.clock is not None
    cores = CORES.get(chip_name, 1)
    at_work = cores if part in ON_ALL_CORES else 1
    flops = at_work * MATMULS[part] * 2 * BLOCK * BLOCK * head_dim
    return flops / (bundles * chip.peak_flops / chip.clock)


def main() -> None:
    """Prints the table; with --write, a page of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--compile", metavar="SLICE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile:
        compile_kernels(arguments.compile)
        return
    from codepmp_jax.commands.compile_check import leave_tpus_alone

    leave_tpus_alone()
    page = Page("kernel_schedules", "Schedules of the attention kernels")
    lines = [
        "| chip | cores a device | kernel | matmuls | bundles | cores at work | share of the peak |",
        "|---" * 7 + "|",
    ]
    for name, shape in progress(SLICES.items(), desc="compile", unit="chip"):
        cores = CORES.get(name, 1)
        for part, bundles in sorted(schedules(f"{name}:{shape}").items()):
            at_work = cores if part in ON_ALL_CORES else 1
            share = efficiency(name, part, bundles)
            lines.append(
                f"| {name} | {cores} | {part.lstrip('_')} | {MATMULS[part]} | {bundles} | {at_work} | {share:.3f} |"
            )
    tables = "\n".join(lines)
    print(tables)
    if arguments.write:
        page.write(
            f"Nothing ran on a TPU. A block is {BLOCK} x {BLOCK} scores of a head of 128; bundles are cycles if nothing "
            "stalls. Of two TensorCores JAX's backward kernels use one.",
            tables,
        )


if __name__ == "__main__":
    main()
