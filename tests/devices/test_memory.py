from __future__ import annotations

import dataclasses

import jax
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.devices import memory
from tests.training.reference import tiny_config


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("required for HLO temporaries (300.00G) exceeds available HBM (15.25G).", 300.0),
        ("Ran out of memory in memory space hbm. Used 16.58G of 15.75G hbm.", 16.58),
        ("Ran out of memory in memory space vmem.", None),
    ],
)
def test_what_the_compiler_needs(message, expected):
    assert memory.needed_gib(message) == expected


def test_exhausted_memory_is_explained(tmp_path):
    """With a profile of what lay in it, the compiler's figure, and the cheapest changes first."""
    config = tiny_config(
        workdir=str(tmp_path), model__remat="none", global_batch_rows=8, accumulation_steps=2
    )
    message = (
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 16.58G of 15.75G hbm."
    )
    with (
        pytest.raises(UserError, match=r"needs 16\.6 GiB .*--model\.remat full, --acc.*-steps 4"),
        memory.explained(config, (1, 2, 1)),
    ):
        raise jax.errors.JaxRuntimeError(message)
    assert (tmp_path / "memory" / "host0.prof").stat().st_size > 0


def test_other_errors_of_the_devices_are_not_taken_for_exhausted_memory(tmp_path):
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        memory.explained(tiny_config(workdir=str(tmp_path)), (1, 1, 1)),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize(
    ("message", "scratch", "device"),
    [
        ("RESOURCE_EXHAUSTED: CompileTimeScopedVmemOom: 16.16M, limit 16.00M", True, False),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem.", True, False),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.", False, True),
        ("INTERNAL: something else", False, False),
    ],
)
def test_scratch_memory_is_told_from_the_devices(message, scratch, device):
    error = RuntimeError(message)
    assert (memory.lacks_scratch(error), memory.is_exhausted(error)) == (scratch, device)


def test_advice_on_scratch_memory_starts_from_the_limit_that_failed():
    name = "xla_tpu_scoped_vmem_limit_kib"
    assert memory.scratch_advice({}) == [
        f"--compiler-options {name}=24576",
        f"--compiler-options {name}=8192",
    ]
    assert memory.scratch_advice({name: "49152"})[0].endswith("=73728")


def test_advice_ends_with_a_larger_slice():
    config = dataclasses.replace(
        tiny_config(model__remat="full"),
        optimizer=dataclasses.replace(tiny_config().optimizer, first_moment_dtype="bfloat16"),
    )
    assert memory.advice(config, 1, (1, 8, 1)) == ["a larger slice"]
    assert memory.advice(config, 2, (2, 4, 1)) == [
        "--accumulation-steps 2",
        "--mesh.fsdp 8",
        "a larger slice",
    ]
