"""What an operation takes where the compiler has not said: it writes its cycles only with the code that it generates.

Right for comparing what programs compute and move, not for how well a matmul runs: matmuls go at a fixed share of the
peak, everything else at a fixed share of the memory's rate.
"""

from __future__ import annotations

from codepmp_jax.aot.hlo import Instruction, Module, hbm_bytes
from codepmp_jax.devices.chips import Chip

_MATMUL_EFFICIENCY = 0.9
_MEMORY_EFFICIENCY = 0.8
_SLICES = frozenset({"dynamic-slice", "slice", "gather"})


def estimated_seconds(
    module: Module,
    body: dict[str, Instruction],
    instruction: Instruction,
    at_peak: float,
    chip: Chip,
) -> float:
    """Of an operation whose matmuls take `at_peak` seconds at the peak: the longer of computing them and of reading and
    writing."""
    assert chip.hbm_bandwidth is not None
    return max(
        at_peak / _MATMUL_EFFICIENCY,
        touched_bytes(module, body, instruction) / (_MEMORY_EFFICIENCY * chip.hbm_bandwidth),
    )


def touched_bytes(module: Module, body: dict[str, Instruction], instruction: Instruction) -> float:
    """Bytes of the device's memory that an operation reads and writes; of an array of which it takes a slice, or into
    which it writes one, those of the slice."""
    if instruction.opcode in _SLICES:
        return 2.0 * hbm_bytes(instruction.shape)
    if instruction.opcode == "dynamic-update-slice":
        return 2.0 * hbm_bytes(body[instruction.operands[1]].shape)
    shapes = [body[name].shape for name in instruction.operands if name in body]
    if instruction.opcode != "fusion":
        return float(sum(map(hbm_bytes, shapes)) + hbm_bytes(instruction.shape))
    (name,) = instruction.called
    inner, root = module.computations[name], module.roots[name]
    total = 0.0
    for part in inner.values():
        if part.opcode == "parameter" and int(part.literal) < len(shapes):
            total += _read(inner, part, shapes[int(part.literal)])
    written = [inner[one] for one in root.operands] if root.opcode == "tuple" else [root]
    if any(one.opcode == "dynamic-update-slice" for one in written):
        return total + sum(
            hbm_bytes(inner[one.operands[1]].shape)
            if one.opcode == "dynamic-update-slice"
            else hbm_bytes(one.shape)
            for one in written
        )
    return total + hbm_bytes(instruction.shape)


def _read(inner: dict[str, Instruction], parameter: Instruction, shape: str) -> float:
    """Of a fusion's operand of this shape."""
    users = [one for one in inner.values() if parameter.name in one.operands]
    whole = hbm_bytes(shape)
    if not whole or not users:
        return 0.0
    if all(one.opcode in _SLICES for one in users):
        return float(min(whole, sum(hbm_bytes(one.shape) for one in users)))
    if all(
        one.opcode == "dynamic-update-slice" and one.operands[0] == parameter.name for one in users
    ):
        return 0.0
    return float(whole)
