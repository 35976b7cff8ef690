"""What an optimized TPU module moves between devices and to the host's memory, in the forms that the compiler
writes it."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

import numpy as np

from codepmp_jax.aot.hlo import Instruction, Module, num_bytes

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_HOST_COPIES = ("copy-start", "dynamic-slice-start", "dynamic-update-slice-start")
_HOST_MEMORY = "S(5)"
# What is inside the fusions that begin and end an asynchronous collective. Fusions between them that
# hold the collective too, on the same channel, continue it next to their own work.
_BEGINS, _ENDS = '"AsyncCollectiveStart"', '"AsyncCollectiveDone"'


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One execution of a collective, seen from a device, or of a copy to or from the host's memory."""

    kind: str
    """One of KINDS, or `host`."""
    channel: str
    num_bytes: float
    """That the device receives: (n - 1) / n of an array that n devices gather or scatter, twice that of an
    all-reduce, all of a permutation."""
    network: Literal["ici", "dcn", "host"]
    """Within a slice, between slices, to the host."""
    group: tuple[int, ...] = ()
    """The places in the mesh, row by row, of the devices that it goes between, of the first of several such groups;
    empty where that is not written."""
    num_axes: int = 1
    """Axes of the slice's network that it uses at once."""


def transfer(
    module: Module, body: dict[str, Instruction], instruction: Instruction
) -> Transfer | None:
    """What an instruction of the computation `body` moves, or what it holds does; None where that is nothing."""
    kind = instruction.opcode.removesuffix("-start")
    if kind in KINDS:
        return _collective(kind, body, instruction)
    if instruction.opcode == "send" and (key := rendezvous(instruction)) is not None:
        sent = num_bytes(body[instruction.operands[0]].shape)
        kind = instruction.attribute(r'_xla_megascale_transfer_type="(\w+)"') or "send"
        return Transfer(kind.lower().replace("_", "-"), key, float(sent), "dcn")
    if instruction.opcode in _HOST_COPIES and _HOST_MEMORY in instruction.shape:
        # What is copied is the smallest array among source and destination.
        shapes = (instruction.shape, *(body[name].shape for name in instruction.operands))
        sizes = [num_bytes(array) for s in shapes for array in re.findall(r"\w+\[\d[\d,]*\]", s)]
        return Transfer("host", instruction.name, float(min(sizes)), "host")
    for name in instruction.called:
        if instruction.opcode == "while":
            continue
        inner = module.computations[name]
        for part in inner.values():
            found = transfer(module, inner, part)
            if found is None:
                continue
            # The way that it takes may be written at the fusion.
            found = dataclasses.replace(found, num_axes=max(found.num_axes, _axes(instruction)))
            if not name.startswith("all-reduce-scatter"):
                return found
            # An all-reduce of which each device keeps a shard is run as a reduce-scatter.
            return dataclasses.replace(found, kind="reduce-scatter", num_bytes=found.num_bytes / 2)
    return None


def rendezvous(instruction: Instruction) -> str | None:
    """What the `send` and the `recv` of a collective between slices have in common; None for other ones."""
    return instruction.attribute(r'"xla_megascale_runtime",_xla_host_transfer_rendezvous="([^"]+)"')


def _collective(kind: str, body: dict[str, Instruction], instruction: Instruction) -> Transfer:
    held = sum(num_bytes(body[name].shape) for name in instruction.operands if name in body)
    group: tuple[int, ...] = ()
    if kind != "collective-permute":
        group = _group(instruction)
        size = len(group)
        factor = {"all-gather": size - 1, "all-reduce": 2 * (size - 1) / size}
        held *= factor.get(kind, (size - 1) / size)
    channel = instruction.attribute(r"channel_id=(\d+)") or instruction.name
    return Transfer(kind, channel, float(held), "ici", group, _axes(instruction))


def _axes(instruction: Instruction) -> int:
    """Axes of the network at once, from the algorithm that the compiler chose: `2DAllGather...`, or `colors:3` of an
    all-reduce, whose data it parts among so many ways; ways in one direction are two to an axis."""
    algorithm = instruction.attribute(r'"collective_algorithm_config":\{([^}]*\}?)') or ""
    found = re.search(r'"emitter":"(\d)D|colors:(\d+)', algorithm)
    if found is None:
        return 1
    number = int(found.group(1) or found.group(2))
    return max(1, number // 2) if "UniDirection" in algorithm else number


def _group(instruction: Instruction) -> tuple[int, ...]:
    """The first replica group. XLA writes groups out, as a reshaped iota, or by the axes of a mesh."""
    text = instruction.attributes
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(map(int, found.group(1).split(",")))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", text):
        return tuple(_iota(found.group(3)).reshape(int(found.group(1)), -1)[0].tolist())
    found = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\S+)\))? \{([^}]*)\}", text
    )
    assert found is not None, f"{instruction.name}: replica groups of an unknown form: {text[:200]}"
    axes = [(name, int(size)) for name, size in re.findall(r"'(\w+)'=(\d+)", found.group(1))]
    sizes = [size for _, size in axes]
    ids = (
        _iota(found.group(2)).reshape(sizes)
        if found.group(2)
        else np.arange(math.prod(sizes)).reshape(sizes)
    )
    # An axis may be named in part: `name:(before)size`.
    named = {
        name: (int(before or 1), int(part or 0))
        for name, before, part in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", found.group(3))
    }
    dims, kept = [], []
    for name, size in axes:
        before, part = named.get(name, (size, 1))
        part = part or size
        dims += [before, part, size // before // part]
        kept += [0, slice(None), 0]
    return tuple(ids.reshape(dims)[tuple(kept)].ravel().tolist())


def _iota(text: str) -> np.ndarray:
    """The numbers of `[4,2]T(1,0)`: those from 0 on in this shape, with its dims turned."""
    dims, turned = re.fullmatch(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text).groups()  # type: ignore[union-attr]
    shape = tuple(map(int, dims.split(",")))
    ids = np.arange(math.prod(shape)).reshape(shape)
    return ids if turned is None else ids.transpose(tuple(map(int, turned.split(","))))


def begins(module: Module, instruction: Instruction) -> bool:
    """Whether the instruction, which is or holds a collective, only begins it."""
    if instruction.opcode == "fusion":
        return any(_BEGINS in part.attributes for part in module.inside(instruction))
    return instruction.opcode.endswith("-start") or instruction.opcode == "send"


def ends(module: Module, instruction: Instruction) -> bool:
    """Whether the instruction waits for the end of a collective that another one began."""
    if instruction.opcode == "fusion":
        return any(_ENDS in part.attributes for part in module.inside(instruction))
    return instruction.opcode.endswith("-done")
