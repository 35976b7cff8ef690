import pytest

from codepmp_jax.aot.attention import MATMULS, kernel_efficiency, kernel_flops
from codepmp_jax.devices.chips import CHIPS

# As in compiled steps: 4 kv heads of 7 query heads each, 2 rows of 2560 tokens, heads of 128.
QUERIES, KEYS = "bf16[4,7,2,2560,128]{4,3,2,1,0}", "bf16[4,2,2560,128]{3,2,1,0}"


@pytest.mark.parametrize(("name", "matmuls"), [("flash_forward", 2), ("flash_backward", 5)])
def test_flops_are_those_of_the_matmuls(name, matmuls):
    """2 * queries * heads * scores of a query * head_dim each, the numbers of the kernel's grid aside."""
    operands = ["s32[400]{0}", "s32[20]{0}", QUERIES, KEYS, KEYS, "s32[2,4,2560]{2,1,0}"]
    assert kernel_flops(name, operands, 575.0) == matmuls * 2 * 2 * 2560 * 28 * 575 * 128


@pytest.mark.parametrize(
    "chip", [chip for chip in CHIPS.values() if chip.clock], ids=lambda chip: chip.name
)
def test_every_kernel_has_its_share_of_a_tpu_s_peak(chip):
    shares = {part: kernel_efficiency(f"x{part}_y", chip) for part in MATMULS}
    assert shares == chip.kernel_efficiency
    assert all(0 < share < 1 for share in shares.values())
