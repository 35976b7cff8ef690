"""Reports for a step that does not fit into the devices' memory: what was needed, and what to change."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

import jax

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.files import storage


def is_exhausted(error: Exception) -> bool:
    """Whether an error of jax's says that the devices' memory was too small."""
    return "RESOURCE_EXHAUSTED" in str(error) and not lacks_scratch(error)


def lacks_scratch(error: Exception) -> bool:
    """Whether it is a TPU's scratch memory (VMEM) that was too small, of which an operation has a limited part."""
    return re.search(r"scopedvmemoom|memory space vmem|scoped vmem", str(error).lower()) is not None


def scratch_advice(options: Mapping[str, str]) -> list[str]:
    """What to change of XLA's options where the scratch memory is too small."""
    name = "xla_tpu_scoped_vmem_limit_kib"
    # The compiler's own limit on the chips that have none here.
    limit = int(options.get(name, "16384"))
    return [
        f"--compiler-options {name}={limit * 3 // 2}",
        f"--compiler-options {name}={limit // 2}",
    ]


def needed_gib(message: str) -> float | None:
    """The memory that the compiler says is needed, where it does."""
    found = re.search(r"\(([\d.]+)G\) exceeds available|Used ([\d.]+)G of", message)
    return float(found.group(1) or found.group(2)) if found else None


def advice(config: TrainConfig, rows_per_part: int, sizes: tuple[int, int, int]) -> list[str]:
    """What to change so that a step that does not fit may do so, the cheapest change first."""
    data, fsdp, _ = sizes
    parts = config.accumulation_steps
    found = []
    if config.model.remat != "full":
        found.append("--model.remat full")
    if rows_per_part % 2 == 0:
        found.append(f"--accumulation-steps {2 * parts}")
    if data % 2 == 0:
        found.append(f"--mesh.fsdp {2 * fsdp}")
    if config.optimizer.first_moment_dtype == "float32":
        found.append("--optimizer.first-moment-dtype bfloat16")
    if config.lora.is_on and config.lora.base_dtype == "float32":
        found.append("--lora.base-dtype bfloat16")
    return [*found, "a larger slice"]


@contextlib.contextmanager
def explained(config: TrainConfig, sizes: tuple[int, int, int]) -> Iterator[None]:
    """Where the devices' memory runs out within, writes a profile of it to WORKDIR/memory.

    Raises UserError with the compiler's own figure, and advice for the mesh of `sizes`.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        profile, name = f"{config.workdir}/memory", f"host{jax.process_index()}.prof"
        with storage.written_locally(profile) as folder:
            jax.profiler.save_device_memory_profile(str(folder / name))
        needed = needed_gib(str(error))
        rows = config.global_batch_rows // config.accumulation_steps // (sizes[0] * sizes[1])
        raise UserError(
            "the step does not fit into the devices' memory"
            f"{'' if needed is None else f', it needs {needed:.1f} GiB of each'}: "
            f"{str(error).splitlines()[0]} Its profile: {profile}/{name} (pprof). Remedy, the cheapest "
            f"first: {', '.join(advice(config, rows, sizes))}; launch/compile_check.py finds "
            "without devices what fits."
        ) from error
