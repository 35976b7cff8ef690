"""The chips that training is tuned for: their peak rates, and the compiler options used on them.

Peaks, memory and bandwidths are from the vendors' data sheets, all per device as jax counts devices (a TPU
v4 or v5p chip is one, a TPU7x chip two). `hbm_gib` of a TPU is what its compiler leaves to a program.
`clock` turns the compiler's cycles into seconds: the peak over the FLOPs that the matmul units do in a
cycle (2^17 on v5e, 2^18 on v4 and v5p, 2^19 on v6e and TPU7x). Those counts are assumed, as the data sheets
give no clock; what the compiler estimates for large matmuls comes up to 97 % of them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config import ModelConfig, TrainConfig


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device of an accelerator. What is not known is None."""

    name: str
    device_kinds: tuple[str, ...]
    """jax's names of the device."""
    peak_flops: float | None = None
    """Dense bfloat16 FLOP/s."""
    peak_int8: float | None = None
    """Dense int8 operations/s; that of bfloat16 where it is not known."""
    hbm_gib: float | None = None
    hbm_bandwidth: float | None = None
    """Bytes/s."""
    clock: float | None = None
    """Cycles/s."""
    ici_bandwidth: float | None = None
    """Bytes/s that a device receives over one axis of the slice's network, from both sides."""
    ring_length: int | None = None
    """Lines of the slice's network close to rings where their length is a multiple of it."""
    devices_per_chip: int = 1
    kernel_efficiency: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Share of the peak that attention's kernels reach by the compiler's schedules (benchmarks/kernel_schedules.py), by a
    part of the kernel's name."""
    attention: Literal["xla", "blocked", "splash", "flash"] = "xla"
    """What model.attention = auto means here."""
    attention_block: int | None = None
    """What model.attention_block = None means here; None is the implementation's own."""
    mlp_hidden: Literal["fused", "materialized"] = "fused"
    """What model.mlp_hidden = auto means here."""
    compiler_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """XLA's options for the training step."""
    compute_capability: str | None = None
    """Of a GPU: others of this capability run as this one."""
    topology_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What jax's topology descriptions need to describe the devices as jax finds them on the machine."""


# What makes a chip's layer gathers run beside matmuls where they would not; v5e and TPU7x do so by themselves.
_ASYNC_GATHERS = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
    "xla_tpu_megacore_fusion_allow_ags": "false",
}
# What the SparseCores do beside matmuls, with what MaxText sets wherever they do (MaxText, benchmarks/xla_flags_library.py;
# also apple/axlearn, axlearn/common/compiler_options.py): a kind of collective is either theirs or fused.
_SPARSE_CORE = {
    "xla_tpu_use_tc_device_shape_on_sc": "true",
    "xla_sc_enable_instruction_fusion": "false",
    "xla_sc_disable_megacore_partitioning": "true",
}
_SPARSE_CORE_REDUCTIONS = _SPARSE_CORE | {
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": "false",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "false",
}
_SPARSE_CORE_GATHERS = {
    "xla_tpu_enable_sparse_core_collective_offload_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "false",
}

# Of several slices: gradients cross the network between them while others are computed (axlearn, as above, which also
# gathers them by way of the hosts, xla_tpu_enable_sunk_dcn_allreduce_done_with_host_reduction: left out until it is
# measured, as compile-check does not see what goes that way).
_SLICES = {
    "xla_tpu_enable_megascale_barrier": "true",
    "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
    "xla_tpu_data_parallel_opt_different_sized_ops": "true",
}

# Of a batch in parts: where fsdp is a whole slice, this pass of XLA's on TPUs ends the compilation with an internal error
# at what adds the parts' gradients up.
_PARTS = {"xla_disable_hlo_passes": "while-loop-all-reduce-code-motion"}

# For libtpu itself, which takes them at its start only: of the SparseCores (MaxText, as above), and the memory for
# transfers between slices, whose default of 4 GiB doubles a large model's step (axlearn, as above); where there is one
# slice, it is not used.
_INIT_ARGS = "LIBTPU_INIT_ARGS"
_LIBTPU_FLAGS = {
    "xla_sc_disjoint_spmem": "false",
    "megascale_grpc_premap_memory_bytes": str(16 * 2**30),
}

# Where fsdp is a whole slice, XLA would cut the layers' matmuls, with their gathers and reductions, into a piece for
# each chip: pieces too small, whose sums go through memory each time.
_WHOLE_MATMULS = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}
# Tiles of matmuls larger than the compiler's own choice leaves room for; larger limits compile for much longer.
_LARGE_TILES = {"xla_tpu_scoped_vmem_limit_kib": "49152"}

CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "v4",
            ("TPU v4",),
            peak_flops=275e12,
            hbm_gib=30.75,
            hbm_bandwidth=1228e9,
            clock=275e12 / 2**18,
            ici_bandwidth=90e9,
            ring_length=4,
            kernel_efficiency={
                "_fwd": 0.268,
                "_dkv": 0.241,
                "_dq": 0.232,
                "flash_forward": 0.459,
                "flash_backward": 0.712,
            },
            attention="flash",
            compiler_options=_ASYNC_GATHERS | _WHOLE_MATMULS,
            topology_options={"chip_config_name": "megacore"},
        ),
        Chip(
            "v5e",
            ("TPU v5 lite", "TPU v5e"),
            peak_flops=197e12,
            peak_int8=394e12,
            hbm_gib=15.75,
            hbm_bandwidth=819e9,
            clock=197e12 / 2**17,
            ici_bandwidth=90e9,
            ring_length=16,
            kernel_efficiency={
                "_fwd": 0.445,
                "_dkv": 0.775,
                "_dq": 0.732,
                "flash_forward": 0.672,
                "flash_backward": 0.857,
            },
            attention="flash",
            compiler_options=_WHOLE_MATMULS,
        ),
        Chip(
            "v5p",
            ("TPU v5", "TPU v5p"),
            peak_flops=459e12,
            peak_int8=918e12,
            hbm_gib=95.74,
            hbm_bandwidth=2765e9,
            clock=459e12 / 2**18,
            ici_bandwidth=180e9,
            ring_length=4,
            kernel_efficiency={
                "_fwd": 0.397,
                "_dkv": 0.356,
                "_dq": 0.345,
                "flash_forward": 0.662,
                "flash_backward": 0.858,
            },
            attention="flash",
            compiler_options=_ASYNC_GATHERS
            | _SPARSE_CORE_REDUCTIONS
            | _WHOLE_MATMULS
            | _LARGE_TILES,
        ),
        Chip(
            "v6e",
            ("TPU v6 lite", "TPU v6e"),
            peak_flops=918e12,
            peak_int8=1836e12,
            hbm_gib=31.25,
            hbm_bandwidth=1640e9,
            clock=918e12 / 2**19,
            ici_bandwidth=180e9,
            ring_length=16,
            kernel_efficiency={
                "_fwd": 0.128,
                "_dkv": 0.250,
                "_dq": 0.214,
                "flash_forward": 0.209,
                "flash_backward": 0.325,
            },
            attention="flash",
            mlp_hidden="materialized",
            compiler_options=_SPARSE_CORE_REDUCTIONS
            | _SPARSE_CORE_GATHERS
            | _WHOLE_MATMULS
            | _LARGE_TILES,
        ),
        Chip(
            "tpu7x",
            ("TPU7x",),
            peak_flops=1153.5e12,
            hbm_gib=94.75,
            hbm_bandwidth=3690e9,
            clock=1153.5e12 / 2**19,
            ici_bandwidth=100e9,
            ring_length=4,
            devices_per_chip=2,
            kernel_efficiency={
                "_fwd": 0.134,
                "_dkv": 0.257,
                "_dq": 0.206,
                "flash_forward": 0.213,
                "flash_backward": 0.329,
            },
            attention="flash",
            compiler_options=_WHOLE_MATMULS,
        ),
        # Attention on GPUs is XLA's, until benchmarks/gpu_attention.py has shown what is faster on one: pallas_gpu repeats
        # keys and values for every query head, skips no block, and runs twice where texts share a prefix.
        Chip(
            "a100",
            ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"),
            peak_flops=312e12,
            hbm_gib=80.0,
            hbm_bandwidth=2039e9,
            attention_block=64,
            compute_capability="8.0",
        ),
        Chip(
            "a100_40gb",
            ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
            peak_flops=312e12,
            hbm_gib=40.0,
            hbm_bandwidth=1555e9,
            attention_block=64,
        ),
        Chip(
            "h100",
            ("NVIDIA H100 80GB HBM3",),
            peak_flops=989e12,
            hbm_gib=80.0,
            hbm_bandwidth=3350e9,
            attention_block=64,
            compute_capability="9.0",
        ),
        Chip(
            "h100_pcie",
            ("NVIDIA H100 PCIe",),
            peak_flops=756e12,
            hbm_gib=80.0,
            hbm_bandwidth=2000e9,
            attention_block=64,
        ),
        Chip(
            "gh200",
            ("NVIDIA GH200 480GB",),
            peak_flops=989e12,
            hbm_gib=96.0,
            hbm_bandwidth=4000e9,
            attention_block=64,
        ),
        Chip(
            "h200",
            ("NVIDIA H200",),
            peak_flops=989e12,
            hbm_gib=141.0,
            hbm_bandwidth=4800e9,
            attention_block=64,
        ),
        Chip(
            "b200",
            ("NVIDIA B200",),
            peak_flops=2250e12,
            hbm_gib=180.0,
            hbm_bandwidth=7700e9,
        ),
        Chip("cpu", ("cpu",), attention="blocked", attention_block=64),
    )
}


def chip_of(device_kind: str, compute_capability: str | None = None) -> Chip:
    """The chip with this name of jax's. A GPU of another name runs as the chip of its compute capability, with rates
    and memory unknown; where there is none, nothing is known of the chip."""
    for chip in CHIPS.values():
        if device_kind in chip.device_kinds:
            return chip
    for chip in CHIPS.values():
        if compute_capability is not None and chip.compute_capability == compute_capability:
            return dataclasses.replace(
                chip,
                name=f"unknown, as {chip.name}",
                device_kinds=(device_kind,),
                peak_flops=None,
                hbm_gib=None,
                hbm_bandwidth=None,
            )
    return Chip("unknown", (device_kind,))


def chip_of_device(device: Any) -> Chip:
    """The chip that a device of jax's is of."""
    return chip_of(device.device_kind, getattr(device, "compute_capability", None))


def resolve(model: ModelConfig, max_length: int, chip: Chip) -> ModelConfig:
    """`model` with the chip's choice of attention, attention_block and mlp_hidden where the model leaves it open.

    Raises UserError where the model asks for pallas_gpu and has a soft cap, or a window shorter than texts of
    `max_length` tokens, neither of which it supports.
    """
    window = model.effective_window(max_length)
    is_plain = window is None and model.attention_soft_cap is None
    require(
        is_plain or model.attention != "pallas_gpu",
        "model.attention",
        model.attention,
        f"supports neither the model's sliding window ({window}) nor its soft cap ({model.attention_soft_cap})",
        "leave it auto, or set it to xla",
    )
    return dataclasses.replace(
        model,
        attention=chip.attention if model.attention == "auto" else model.attention,
        attention_block=model.attention_block or chip.attention_block,
        mlp_hidden=chip.mlp_hidden if model.mlp_hidden == "auto" else model.mlp_hidden,
    )


def compiler_options(config: TrainConfig, chip: Chip, num_slices: int = 1) -> dict[str, str]:
    """XLA's options for the training step: the chip's, on TPUs those of a batch in parts and of several slices, and
    `config.compiler_options` over them."""
    own = dict(option.split("=", 1) for option in config.compiler_options)
    is_tpu = chip.clock is not None
    parts = _PARTS if is_tpu and config.accumulation_steps > 1 else {}
    return {**chip.compiler_options, **parts, **(_SLICES if num_slices > 1 else {}), **own}


def set_libtpu_flags() -> None:
    """Completes LIBTPU_INIT_ARGS, which libtpu reads at its start."""
    os.environ[_INIT_ARGS] = libtpu_init_args(os.environ.get(_INIT_ARGS, ""))


def libtpu_init_args(given: str) -> str:
    """The value of LIBTPU_INIT_ARGS: what is `given`, and the flags that it leaves out."""
    named = {flag.lstrip("-").partition("=")[0] for flag in given.split()}
    more = [f"--{name}={value}" for name, value in _LIBTPU_FLAGS.items() if name not in named]
    return " ".join([*given.split(), *more])


def describe_options() -> list[str]:
    """The XLA options of every chip that has some, of TPUs with accumulation_steps, and of several slices, an option a
    line, beneath a heading; and libtpu's flags."""
    options = {chip.name: chip.compiler_options for chip in CHIPS.values()}
    lines = [
        f"  {kind}: {name}={value}"
        for kind, some in (
            options | {"TPUs, accumulation_steps > 1": _PARTS, "several slices": _SLICES}
        ).items()
        for name, value in some.items()
    ]
    flags = [f"  --{name}={value}" for name, value in _LIBTPU_FLAGS.items()]
    return [
        "",
        "XLA options of the chips, to which compiler_options are added:",
        *lines,
        "Flags that LIBTPU_INIT_ARGS gets on TPUs, unless it has them:",
        *flags,
    ]
