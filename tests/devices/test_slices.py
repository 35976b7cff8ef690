from __future__ import annotations

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.devices.chips import CHIPS
from codepmp_jax.devices.slices import NAMES, slice_of


@pytest.mark.parametrize(
    ("name", "label", "shape", "chips"),
    [
        ("v5litepod-16", "tpu-v5-lite-podslice", "4x4", 16),
        ("v5litepod-256", "tpu-v5-lite-podslice", "16x16", 256),
        ("v5e-8", "tpu-v5-lite-podslice", "2x4", 8),
        ("v5e:1x1", "tpu-v5-lite-podslice", "1x1", 1),
        ("v6e-64", "tpu-v6e-slice", "8x8", 64),
        # The numbers of these count two cores a chip.
        ("v4-8", "tpu-v4-podslice", "2x2x1", 4),
        ("v5p-128", "tpu-v5p-slice", "4x4x4", 64),
        ("tpu7x-8", "tpu7x", "2x2x1", 4),
        ("v5p:4x4x12", "tpu-v5p-slice", "4x4x12", 192),
        ("v5p:12x12x12", "tpu-v5p-slice", "12x12x12", 1728),
    ],
)
def test_the_slice_of_a_name(name, label, shape, chips):
    found = slice_of(name)
    assert (found.gke_accelerator, found.shape, found.num_chips) == (label, shape, chips)


def test_every_topology_of_the_compiler_is_a_slice():
    assert {name.split(":")[0] for name in NAMES} == {
        chip.name for chip in CHIPS.values() if chip.clock
    }
    for name in NAMES:
        assert slice_of(name).shape == name.split(":")[1]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("h100-8", "v5litepod-64"),
        ("v5litepod", "v5litepod-64"),
        ("v5e:16", "v5e:8x8"),
        ("v5e:4x4x4", "v5e:8x8"),
        ("v5p:4x4", "v5p:4x4x4"),
        ("v5e:0x4", "v5e:8x8"),
        ("v5litepod-7", "v5litepod:8x8"),
        ("v5p-384", "v5p:4x4x4"),
        ("", "v5litepod-64"),
    ],
)
def test_a_name_of_no_slice_is_answered_with_one(name, remedy):
    with pytest.raises(UserError, match="Remedy: ") as error:
        slice_of(name)
    assert remedy in str(error.value)
    slice_of(remedy)
