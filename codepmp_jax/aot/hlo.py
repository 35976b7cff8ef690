"""Reads the text of an optimized HLO module: instructions, trip counts, bytes, matmul FLOPs.

There is no public API for what is needed here: XLA's own cost analysis counts the body of a loop once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

import numpy as np

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"\b(pred|bf16|token|opaque|[sufc]\d+)(?:e\w+)?\[([\d,]*)\]")
_PLACED = re.compile(rf"{_ARRAY.pattern}(\{{[^}}]*\}})?")
_HEADER = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%([\w.\-]+) = (.+)$")
_NAME = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation."""

    name: str
    shape: str
    """As written: an array, or a tuple of them."""
    opcode: str
    operands: tuple[str, ...]
    """Names of instructions of the same computation."""
    literal: str
    """The text in the parentheses; a constant's value."""
    attributes: str
    """What follows the parentheses."""

    @functools.cached_property
    def op_name(self) -> str:
        """Where in the traced program it comes from; empty where XLA does not say."""
        return self.attribute(r'op_name="([^"]*)"') or ""

    @property
    def cycles(self) -> int:
        """What the compiler estimates; 0 where it does not."""
        return int(self.attribute(r'"estimated_cycles":"(\d+)"') or 0)

    @property
    def called(self) -> list[str]:
        """The computations it runs, but for a loop's condition and what a reduction adds up with."""
        if self.opcode == "conditional":
            return _NAME.findall(self.attribute(r"branch_computations=\{([^}]*)\}") or "")
        if self.opcode not in ("fusion", "while", "call", "call-start", "async-start"):
            return []
        return [self.attribute(r"\b(?:calls|body|to_apply)=%([\w.\-]+)") or ""]

    def attribute(self, pattern: str) -> str | None:
        """The first group of `pattern` in the attributes."""
        found = re.search(pattern, self.attributes)
        return found.group(1) if found else None


@dataclasses.dataclass(frozen=True)
class Module:
    """Computations by name; a computation's instructions in the order they are scheduled in."""

    entry: str
    computations: dict[str, dict[str, Instruction]]
    roots: dict[str, Instruction]
    """What each computation gives."""

    def inside(self, instruction: Instruction) -> Iterator[Instruction]:
        """The instruction's own parts, and theirs: what a fusion or an asynchronous call runs."""
        for name in instruction.called:
            for part in self.computations[name].values():
                yield part
                yield from self.inside(part)


def parse(text: str) -> Module:
    """The module that `text` prints."""
    computations: dict[str, dict[str, Instruction]] = {}
    roots: dict[str, Instruction] = {}
    entry = name = ""
    body: dict[str, Instruction] = {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header.group(2)
            body = computations[name] = {}
            entry = name if header.group(1) else entry
        elif found := _INSTRUCTION.match(line):
            is_root, label, text_ = found.groups()
            body[label] = _instruction(label, text_)
            if is_root:
                roots[name] = body[label]
    assert entry in computations, "no ENTRY computation in this text"
    return Module(entry, computations, roots)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text[0] == "(" else text.index(" ")
    shape, rest = text[:end], text[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    literal = rest[opening + 1 : closing]
    operands = tuple(_NAME.findall(literal))
    return Instruction(name, shape, rest[:opening], operands, literal, rest[closing + 1 :])


def _closing(text: str, opening: int) -> int:
    """Index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for found in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if found.group() == "(" else -1
        if depth == 0:
            return found.start()
    raise ValueError(f"no closing parenthesis in {text[:200]!r}")


def arrays(shape: str) -> list[tuple[int, ...]]:
    """The dims of the arrays in a shape."""
    return [tuple(map(int, dims.split(","))) if dims else () for _, dims in _ARRAY.findall(shape)]


def num_bytes(shape: str) -> int:
    """Bytes of all arrays in a shape, without the padding of their layout."""
    total = 0
    for dtype, dims in _ARRAY.findall(shape):
        bits = _BITS[dtype] if dtype in _BITS else int(re.sub(r"\D", "", dtype))
        total += bits * math.prod(map(int, dims.split(","))) if dims else bits
    return math.ceil(total / 8)


def whole(shape: str) -> list[str]:
    """The arrays in a shape, each as written, with its layout."""
    return [found.group(0) for found in _PLACED.finditer(shape)]


def hbm_bytes(shape: str) -> int:
    """As num_bytes, of those arrays that lie in the device's main memory: no other memory space is named."""
    return sum(num_bytes(array) for array in whole(shape) if "S(" not in array)


def trip_count(module: Module, around: dict[str, Instruction], loop: Instruction) -> int:
    """How often the body of a `while` of the computation `around` runs.

    For loops that count up to a constant by a constant, as those of lax.scan and the compiler's own do. One
    that starts at what is no constant is taken to start at 0.
    """
    condition = module.computations[loop.attribute(r"condition=%([\w.\-]+)") or ""]
    parts = [p for part in condition.values() for p in (part, *module.inside(part))]
    bounds = [int(part.literal) for part in parts if _is_number(part)]
    counters = [part for part in condition.values() if part.opcode == "get-tuple-element"]
    assert bounds, f"loop {loop.name} has no bound"
    assert len(counters) == 1, f"loop {loop.name} has no counter of its own"
    counter = int(counters[0].attribute(r"index=(\d+)") or 0)
    (name,) = loop.called
    next_value = module.computations[name][module.roots[name].operands[counter]]
    steps = [
        int(part.literal)
        for part in (
            *(module.computations[name][operand] for operand in next_value.operands),
            *module.inside(next_value),
        )
        if _is_number(part)
    ]
    start = 0
    initial = around.get(loop.operands[0])
    if initial is not None and initial.opcode == "tuple":
        first = around[initial.operands[counter]]
        start = int(first.literal) if _is_number(first) else 0
    return math.ceil((max(bounds) - start) / (steps[0] if steps else 1))


def _is_number(instruction: Instruction) -> bool:
    return (
        instruction.opcode == "constant" and re.match(r"[su]32\[\]", instruction.shape) is not None
    )


def matmul_flops(body: dict[str, Instruction], instruction: Instruction) -> int:
    """FLOPs of a `dot` or `convolution` of the computation `body`, 2 per multiply-add; 0 of another one.

    TPU matmuls are convolutions; batch dims are windows of which one place falls on data and the others
    on padding, which is not counted.
    """
    if instruction.opcode not in ("dot", "convolution"):
        return 0
    left, right = (arrays(body[name].shape)[0] for name in instruction.operands[:2])
    (out,) = arrays(instruction.shape)
    if instruction.opcode == "dot":
        contracted = instruction.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
        return (
            2 * math.prod(out) * math.prod(left[int(dim)] for dim in contracted.split(",") if dim)
        )
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None, instruction.name
    on_left, on_right, on_out = labels.groups()
    groups = int(instruction.attribute(r"batch_group_count=(\d+)") or 1)
    flops = 2 * out[on_out.index("f")] * right[on_right.index("i")]
    flops *= left[on_left.index("b")] // groups
    window = instruction.attribute(r"window=\{([^}]*)\}") or ""
    for i in range(len(out) - 2):
        flops *= _valid_places(
            left[on_left.index(str(i))], out[on_out.index(str(i))], *_window_dim(window, i)
        )
    return flops


def multiplies_int8(body: dict[str, Instruction], instruction: Instruction) -> bool:
    """Whether both inputs of a `dot` or `convolution` are int8."""
    return all(body[name].shape.startswith("s8[") for name in instruction.operands[:2])


def _window_dim(window: str, i: int) -> tuple[int, int, int, int, int]:
    """(size, stride, padding before, dilation of the left side, of the right side) of a window's dim."""

    def field(name: str, default: str) -> str:
        found = re.search(rf"\b{name}=(\S+)", window)
        return found.group(1).split("x")[i] if found else default

    before = field("pad", "0_0").split("_")[0]
    sizes = (field("size", "1"), field("stride", "1"), before)
    return tuple(map(int, (*sizes, field("lhs_dilate", "1"), field("rhs_dilate", "1"))))  # type: ignore[return-value]


def _valid_places(
    left: int,
    out: int,
    size: int,
    stride: int,
    before: int,
    left_dilation: int,
    right_dilation: int,
) -> int:
    """How many (place of the output, place in the window) pairs meet an element of the left side."""
    places = np.arange(out)[:, None] * stride + np.arange(size) * right_dilation - before
    inside = (places >= 0) & (places < (left - 1) * left_dilation + 1)
    return int(np.count_nonzero(inside & (places % left_dilation == 0)))
