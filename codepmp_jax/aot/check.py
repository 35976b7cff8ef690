"""Compiles the training step for a TPU slice without one: does it fit, and how fast can it be?"""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import Any

import jax

from codepmp_jax.aot import hlo, topology
from codepmp_jax.aot.attention import kernel_flops
from codepmp_jax.aot.calibration import CALIBRATIONS
from codepmp_jax.aot.links import coordinates
from codepmp_jax.aot.replay import Profile, replay
from codepmp_jax.aot.report import Report
from codepmp_jax.aot.workload import Workload, measure
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import TrainConfig
from codepmp_jax.devices import chips, sharding
from codepmp_jax.devices.chips import Chip
from codepmp_jax.devices.memory import (
    advice,
    is_exhausted,
    lacks_scratch,
    needed_gib,
    scratch_advice,
)
from codepmp_jax.training import objectives
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import abstract_state
from codepmp_jax.training.step import abstract_batch, jit_train_step

_GIB = 2.0**30


class CompilerError(UserError):
    """The compiler broke down. The message has what it said, and a remedy."""


def compiler_error(said: str) -> CompilerError:
    """The error of a compiler that ended with these words, which are not about memory."""
    return CompilerError(
        f"the compiler failed: {said}. Remedy: try another --mesh.fsdp or --accumulation-steps, or leave out the pass "
        "that is named, if one is: --compiler-options xla_disable_hlo_passes=PASS."
    )


def check(
    config: TrainConfig, topology_name: str, num_slices: int = 1, row: Workload | None = None
) -> Report:
    """Compiles the step of `config` for the slice. Rows hold what `row` says, by default records of realistic lengths.

    Raises UserError for an unknown slice, or a mesh that does not fit on it, and CompilerError.
    """
    chip, devices = topology.describe(topology_name, num_slices)
    model = chips.resolve(config.model, config.data.max_length, chip)
    config = objectives.with_heads(dataclasses.replace(config, model=model))
    require(
        config.model.attention in ("splash", "flash", "xla"),
        "model.attention",
        config.model.attention,
        "must be splash, flash or xla on a TPU",
        "leave it auto",
    )
    assert chip.hbm_gib is not None
    sizes = sharding.check_mesh(
        config.mesh,
        config.model,
        len(devices),
        num_slices,
        part_rows=config.global_batch_rows // config.accumulation_steps,
    )
    rows = config.global_batch_rows // (sizes[0] * sizes[1])
    options = chips.compiler_options(config, chip, num_slices)
    about: dict[str, Any] = {
        "topology": topology_name,
        "num_slices": num_slices,
        "num_devices": len(devices),
        "mesh": dict(zip(sharding.MESH_AXES, sizes, strict=True)),
        "layout": config.data.layout,
        "remat": config.model.remat,
        "attention": config.model.attention,
        "accumulation_steps": config.accumulation_steps,
        "rows_per_device": rows // config.accumulation_steps,
        "compiler_options": options,
        "hbm_gib": chip.hbm_gib,
    }
    started = time.monotonic()
    try:
        mesh = sharding.make_mesh(sizes, devices)
        compiled = compile_step(config, mesh, options)
    except jax.errors.JaxRuntimeError as error:
        require(
            "No such compile option" not in str(error),
            "compiler_options",
            config.compiler_options,
            str(error),
            "take it out",
        )
        about |= {
            "fits": False,
            "compile_seconds": time.monotonic() - started,
            "compiler_says": str(error).split("\n\n")[0],
        }
        if lacks_scratch(error):
            return Report(**about, short_of="VMEM", advice=scratch_advice(options))
        if not is_exhausted(error):
            raise compiler_error(str(error).split("\n\n")[0]) from error
        return Report(
            **about,
            short_of="HBM",
            peak_hbm_gib=needed_gib(str(error)),
            advice=advice(config, about["rows_per_device"], sizes),
        )
    about["compile_seconds"] = time.monotonic() - started
    layout = objectives.build(config).layout()
    row = row or measure(layout, config.model)
    profile = replay(
        hlo.parse(compiled.as_text()),
        chip,
        lambda name, operands: kernel_flops(name, operands, row.scores_per_query),
        coordinates(mesh.devices.flat),
    )
    peak = compiled.memory_analysis().peak_memory_in_bytes / _GIB
    return Report(
        **about,
        fits=True,
        peak_hbm_gib=peak,
        headroom=1 - peak / chip.hbm_gib,
        **_figures(config, chip, profile, row, rows / sizes[2]),
    )


def compile_step(config: TrainConfig, mesh: jax.sharding.Mesh, options: dict[str, str]) -> Any:
    """The training step of a resolved config, compiled for the devices of `mesh`."""
    num_steps = config.num_steps or 1000
    state = abstract_state(config, optimizers.build(config.optimizer, num_steps), mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step: Any = jit_train_step(config, num_steps, shardings, options)
    with jax.set_mesh(mesh):
        return step.trace(state, abstract_batch(config, mesh)).lower().compile()


def _figures(
    config: TrainConfig,
    chip: Chip,
    profile: Profile,
    row: Workload,
    rows_per_device: float,
) -> dict[str, Any]:
    assert chip.peak_flops is not None
    seconds = sum(profile.seconds.values())
    useful = rows_per_device * objectives.useful_flops(
        config, tokens=row.tokens, keys=row.keys, labels=row.labels, items=row.items
    )
    computed = profile.flops + profile.kernel_flops
    calibration = CALIBRATIONS.get(chip.name)
    factor = None if calibration is None else calibration.factor
    assert chip.hbm_bandwidth is not None
    rows_per_second = rows_per_device / seconds * chip.devices_per_chip
    is_of_pairs = objectives.build(config).kind.unit == "pairs"
    accumulation_loops = 1 if config.accumulation_steps > 1 else 0
    by_kind: dict[tuple[str, bool], list[float]] = collections.defaultdict(lambda: [0, 0.0, 0.0])
    sync_layer_gathers = 0
    for one in profile.collectives:
        sums = by_kind[one.transfer.kind, one.overlapped]
        for i, value in enumerate((1, one.transfer.num_bytes / _GIB, one.seconds * 1e3)):
            sums[i] += one.times * value
        if (
            one.transfer.kind == "all-gather"
            and not one.overlapped
            and len(one.loops) > accumulation_loops
        ):
            sync_layer_gathers += one.times
    return {
        "step_ms": seconds * 1e3,
        "mfu_ceiling_useful": useful / seconds / chip.peak_flops,
        "expected_ms": None if factor is None else seconds * factor * 1e3,
        "expected_mfu_useful": None
        if factor is None
        else useful / seconds / chip.peak_flops / factor,
        "calibrated_by": "" if calibration is None else f"{calibration.run}: {calibration.source}",
        "uncosted_gib": profile.uncosted_bytes / _GIB,
        "uncosted_ms": profile.uncosted_bytes / chip.hbm_bandwidth * 1e3,
        "useful_flop_fraction": useful / computed,
        "sync_layer_gathers": sync_layer_gathers,
        "collective_gib": sum(gib for (kind, _), (_, gib, _) in by_kind.items() if kind != "host"),
        "collective_ms": sum(ms for _, _, ms in by_kind.values()),
        "pairs_per_second_per_chip": rows_per_second * row.items if is_of_pairs else None,
        "tokens_per_second_per_chip": rows_per_second * row.tokens,
        "computed_tflop": computed / 1e12,
        "useful_tflop": useful / 1e12,
        "peak_tflops": chip.peak_flops / 1e12,
        "matmul_ms": profile.matmul_seconds * 1e3,
        "matmul_rate": profile.flops / profile.matmul_seconds / chip.peak_flops,
        "phases_ms": {name: s * 1e3 for name, s in profile.seconds.items()},
        "collectives": [
            {"kind": kind, "overlapped": overlapped, "count": count, "gib": gib, "ms": ms}
            for (kind, overlapped), (count, gib, ms) in sorted(by_kind.items())
        ],
        "kernel_calls": dict(profile.kernel_calls),
        "row": dataclasses.asdict(row),
    }
