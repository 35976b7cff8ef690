"""How fast the attention kernels are on each chip, by the schedule that the compiler writes for a block of scores.

    python benchmarks/kernel_schedules.py --write

Needs no TPU, but `pip install -e '.[tpu]'`. Compiles the gradients of splash attention and of flash attention alone, with
pmp_7b's heads and one of its rows, some 40 s a chip, and reads the number of bundles (instructions that start together, one
a cycle) of each kernel. `Chip.kernel_efficiency` has its figures.
"""

from __future__ import annotations

import argparse
import dataclasses
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
# so of the heads of splash's forward kernel, and of nothing in its other two (splash_attention_kernel.py,
# dimension_semantics).
CORES = {"v4": 2, "v5p": 2}
ON_ALL_CORES = ("_fwd", "flash_forward", "flash_backward")
BLOCKS = {"splash": 512, "flash": 256}
# pmp_7b's: query heads that share keys and values, and dims of a head.
HEADS, HEAD_DIM = 7, 128
_BUNDLE = re.compile(r"^ *0(x[0-9a-f]+)? +(\w\w)? *: (?P<loops>[> ]*)\{")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Of a step of a kernel's grid."""

    scores: int
    """Of a block, of all heads of a step."""
    block: int
    """Bundles of a block of scores."""
    step: int
    """Bundles of a step besides its blocks."""


def compile_kernels(attention: str, topology: str) -> None:
    """Compiles them for one device of a slice. libtpu writes their schedules where LIBTPU_INIT_ARGS says."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from codepmp_jax.aot.topology import describe
    from codepmp_jax.config.presets import load_preset
    from codepmp_jax.models.attention import HEADS_FIRST, IMPLEMENTATIONS
    from codepmp_jax.models.segments import Options, Segments

    chip, devices = describe(topology)
    train = load_preset("pmp_7b")
    model, length = train.model, train.data.row_length
    mesh = jax.sharding.Mesh(np.array(devices[:1]), ("device",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    # Of queries that are scaled already, as in the model.
    scale = 1 / HEADS_FIRST[attention]
    options = Options(scale, block=BLOCKS[attention], max_text=train.data.max_length)

    def loss(query, key, value, ids, branches):
        output = IMPLEMENTATIONS[attention](query, key, value, Segments(ids, branches), options)
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


def schedules(attention: str, topology: str) -> dict[str, Schedule]:
    """Of each kernel, by a part of its name."""
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("LIBTPU_INIT_ARGS", "")
        dump = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        subprocess.run(
            [sys.executable, __file__, "--compile", attention, topology],
            env={**os.environ, "LIBTPU_INIT_ARGS": f"{given} {dump}"},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        found = {}
        for path in pathlib.Path(folder).glob(f"*{attention}*-final_bundles.txt"):
            if "schedule-analysis" not in path.name:
                part = next(part for part in MATMULS if part in path.name)
                found[part] = read(path.read_text(encoding="utf-8"), attention)
    return found


def read(bundles: str, attention: str) -> Schedule:
    """The schedule of a kernel from what the compiler dumps."""
    matches = filter(None, map(_BUNDLE.match, bundles.splitlines()))
    loops = [match["loops"].count(">") for match in matches]
    size = BLOCKS[attention]
    if attention == "splash":
        return Schedule(size * size, len(loops), 0)
    # Within the loop over the grid's steps that over the blocks of keys, half as many as queries, for all heads of a group.
    block = loops.count(2)
    return Schedule(HEADS * size * size // 2, block, len(loops) - block)


def efficiency(chip_name: str, part: str, schedule: Schedule, blocks: float) -> float:
    """Share of the device's peak: the FLOPs of a step with so many blocks over what the device could do in its
    cycles."""
    chip = CHIPS[chip_name]
    assert chip.peak_flops is not None
    assert chip.clock is not None
    cores = CORES.get(chip_name, 1) if part in ON_ALL_CORES else 1
    flops = blocks * cores * MATMULS[part] * 2 * schedule.scores * HEAD_DIM
    cycles = blocks * schedule.block + schedule.step
    return flops / (cycles * chip.peak_flops / chip.clock)


def blocks_of_a_step() -> float:
    """That flash attention computes in rows of pmp_7b's in the layout shared."""
    from codepmp_jax.aot.workload import measure
    from codepmp_jax.config.presets import load_preset
    from codepmp_jax.training import objectives

    train = load_preset("pmp_7b")
    data = dataclasses.replace(train.data, layout="shared")
    size = BLOCKS["flash"]
    model = dataclasses.replace(train.model, attention="flash", attention_block=size)
    layout = objectives.build(dataclasses.replace(train, data=data)).layout()
    return measure(layout, model).scores_per_query / (size // 2)


def main() -> None:
    """Prints the table; with --write, a page of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/")
    parser.add_argument(
        "--compile", nargs=2, metavar=("ATTENTION", "SLICE"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.compile:
        compile_kernels(*arguments.compile)
        return
    from codepmp_jax.commands.compile_check import leave_tpus_alone

    leave_tpus_alone()
    page = Page("kernel_schedules", "Schedules of the attention kernels")
    lines = [
        "| chip | cores | kernel | matmuls | scores of a block | its bundles | bundles of a step besides "
        "| bundles of 512 x 512 scores | cores at work | share of the peak |",
        "|---" * 10 + "|",
    ]
    blocks = {"splash": 1.0, "flash": blocks_of_a_step()}
    for name, shape in progress(SLICES.items(), desc="compile", unit="chip"):
        for attention, count in blocks.items():
            cores = CORES.get(name, 1)
            for part, one in sorted(schedules(attention, f"{name}:{shape}").items()):
                at_work = cores if part in ON_ALL_CORES else 1
                share = efficiency(name, part, one, count)
                whole = (one.block + one.step / count) * 512**2 / one.scores
                lines.append(
                    f"| {name} | {cores} | {attention} {part.split('_')[1]} | {MATMULS[part]} | {one.scores} | {one.block} "
                    f"| {one.step} | {whole:.0f} | {at_work} | {share:.3f} |"
                )
    tables = "\n".join(lines)
    print(tables)
    if arguments.write:
        page.write(
            f"Nothing ran on a TPU. Heads are of {HEAD_DIM}; bundles are cycles if nothing stalls. A step of splash has one "
            "block of one head, a step of flash all blocks that a block of queries needs, of all heads that share keys: "
            f"{blocks['flash']:.2f} in pmp_7b's rows. Of two TensorCores splash's backward kernels use one.",
            tables,
        )


if __name__ == "__main__":
    main()
