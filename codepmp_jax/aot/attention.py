"""What the attention kernels compute, which the compiler does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codepmp_jax.aot.hlo import arrays
from codepmp_jax.devices.chips import Chip

# Matmuls over the scores in splash attention's kernels and in our own, by a part of their names: scores and output;
# scores, the gradient of the weights and that of the queries; the same with the gradients of keys and of values; all
# five.
MATMULS = {"_fwd": 2, "_dq": 3, "_dkv": 4, "flash_forward": 2, "flash_backward": 5}


def kernel_efficiency(name: str, chip: Chip) -> float:
    """Share of the chip's peak that the kernel `name` reaches."""
    return next(share for part, share in chip.kernel_efficiency.items() if part in name)


def kernel_flops(name: str, operands: Sequence[str], scores_per_query: float) -> float:
    """FLOPs of one execution of the attention kernel `name`; `operands` are shapes.

    The largest operand of three dims or more is the queries or their like: heads, tokens, width.
    """
    matmuls = next((number for part, number in MATMULS.items() if part in name), None)
    assert matmuls is not None, f"{name}: not a kernel of attention"
    dims = max((d for shape in operands for d in arrays(shape) if len(d) >= 3), key=math.prod)
    return 2 * matmuls * math.prod(dims) * scores_per_query
