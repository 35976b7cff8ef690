"""Goes through a compiled module in the order of its schedule: how long it takes, and what waits for what.

What is assumed: an operation takes the cycles that the compiler estimates for it. Kernels, for which it
estimates none, reach KERNEL_EFFICIENCY of the peak. Transfers, for which it estimates none either, go at
the network's full rate, one after the other; an operation that needs one waits until it has ended, and a
synchronous one keeps everything waiting. Nothing else costs time: no launches, no latencies, no stragglers.
So the result is a bound from below, for comparing programs more than for predicting them.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable

from codepmp_jax.aot.collectives import Transfer, begins, ends, rendezvous, transfer
from codepmp_jax.aot.hlo import Instruction, Module, matmul_flops, trip_count
from codepmp_jax.devices.chips import Chip

# Bytes/s of a device between slices: 200 Gbit/s for a host of four, which is assumed.
DCN_BANDWIDTH = 6.25e9
# The same to the memory of its host, which is assumed too.
HOST_BANDWIDTH = 16e9
# Share of the chip's peak that Pallas kernels reach, which is assumed: nothing here measures it.
KERNEL_EFFICIENCY = 0.4


@dataclasses.dataclass
class Collective:
    """A collective of the program."""

    transfer: Transfer
    loops: tuple[int, ...]
    """Trip counts of the loops around it, from the outermost in."""
    seconds: float
    """That one transfer takes at the network's full rate."""
    overlapped: bool = False
    """Whether anything is computed while it runs."""

    @property
    def times(self) -> int:
        """Executions in a step."""
        return math.prod(self.loops)


@dataclasses.dataclass
class Profile:
    """A step of one device."""

    seconds: dict[str, float] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(float)
    )
    """By phase; `waiting` is for transfers."""
    flops: float = 0.0
    """Of matmuls, without those of kernels."""
    kernel_flops: float = 0.0
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    kernel_calls: dict[str, int] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(int)
    )
    """Executions of Pallas kernels, by the kernel's name."""


def phase(op_name: str) -> str:
    """Of an operation, by where it comes from in the traced step."""
    if not op_name:
        return "other"
    if "lm_loss" in op_name:
        return "lm_loss"
    if "rematted_computation" in op_name:
        return "recompute"
    if "transpose(" in op_name:
        return "backward"
    return "forward" if "jvp(" in op_name else "optimizer"


def is_kernel(instruction: Instruction) -> bool:
    """Whether it is a Pallas kernel."""
    return (
        instruction.opcode == "custom-call"
        and 'custom_call_target="tpu_custom_call"' in instruction.attributes
    )


def kernel_name(instruction: Instruction) -> str:
    """The kernel's name, without the number that makes it unique."""
    return instruction.name.rstrip("0123456789.")


def replay(
    module: Module,
    chip: Chip,
    kernel_flops: Callable[[str, list[str]], float],
) -> Profile:
    """The profile of a step; `kernel_flops` says what a Pallas kernel computes, from its name and the shapes
    of its operands. All rates of `chip` are known.
    """
    run = _Replay(module, chip, kernel_flops)
    run.computation(module.entry, ())
    return run.profile


class _Replay:
    def __init__(
        self,
        module: Module,
        chip: Chip,
        kernel_flops: Callable[[str, list[str]], float],
    ):
        assert chip.clock is not None
        assert chip.peak_flops is not None
        assert chip.ici_bandwidth is not None
        self._module = module
        self._clock = chip.clock
        self._rates = {"ici": chip.ici_bandwidth, "dcn": DCN_BANDWIDTH, "host": HOST_BANDWIDTH}
        self._kernel_flops = kernel_flops
        self._kernel_rate = KERNEL_EFFICIENCY * chip.peak_flops
        self.profile = Profile()
        self._now = 0.0
        self._worked = 0.0
        # When each network has ended what it was given.
        self._free = dict.fromkeys(self._rates, 0.0)
        # What has begun and not ended: key -> (collective, when it ends, what had been worked before).
        self._open: dict[str, tuple[Collective, float, float]] = {}

    def computation(self, name: str, loops: tuple[int, ...]) -> None:
        body = self._module.computations[name]
        for instruction in body.values():
            if instruction.opcode == "while":
                self._loop(body, instruction, loops)
            elif instruction.opcode in ("call", "conditional"):
                for called in instruction.called:
                    self.computation(called, loops)
            else:
                self._communicate(body, instruction, loops)
                self._work(body, instruction, math.prod(loops))

    def _loop(
        self, around: dict[str, Instruction], loop: Instruction, loops: tuple[int, ...]
    ) -> None:
        """One trip, as the others pass alike."""
        trips = trip_count(self._module, around, loop)
        began, before = self._now, self._free
        self._free = dict.fromkeys(before, began)
        (body,) = loop.called
        self.computation(body, (*loops, trips))
        self._now = began + (self._now - began) * trips
        self._free = {network: max(self._now, free) for network, free in before.items()}

    def _work(self, body: dict[str, Instruction], instruction: Instruction, times: int) -> None:
        profile, module = self.profile, self._module
        profile.flops += times * matmul_flops(body, instruction)
        for name in instruction.called:
            inner = module.computations[name]
            for part in inner.values():
                self._count_flops(inner, part, times)
        if is_kernel(instruction):
            name = kernel_name(instruction)
            shapes = [body[operand].shape for operand in instruction.operands]
            flops = self._kernel_flops(name, shapes)
            seconds = flops / self._kernel_rate
            profile.kernel_flops += times * flops
            profile.kernel_calls[name] += times
            profile.seconds["attention"] += times * seconds
        else:
            seconds = instruction.cycles / self._clock
            if seconds:
                profile.seconds[phase(instruction.op_name)] += times * seconds
        self._now += seconds
        self._worked += seconds

    def _count_flops(self, body: dict[str, Instruction], part: Instruction, times: int) -> None:
        self.profile.flops += times * matmul_flops(body, part)
        for name in part.called:
            inner = self._module.computations[name]
            for deeper in inner.values():
                self._count_flops(inner, deeper, times)

    def _communicate(
        self, body: dict[str, Instruction], instruction: Instruction, loops: tuple[int, ...]
    ) -> None:
        times = math.prod(loops)
        if instruction.opcode.endswith("-done"):
            self._end(instruction.operands[0], times)
            return
        if instruction.opcode == "recv" and (sent := rendezvous(instruction)) in self._open:
            # Its end is that of the collective which the other slices were sent.
            self._open[instruction.name] = self._open.pop(sent)
            return
        moved = transfer(self._module, body, instruction)
        if moved is None:
            return
        key = moved.channel if instruction.opcode in ("fusion", "send") else instruction.name
        if ends(self._module, instruction):
            self._end(key, times)
        elif key not in self._open:
            self._begin(key, moved, loops)
            if not begins(self._module, instruction):
                self._end(key, times)

    def _begin(self, key: str, moved: Transfer, loops: tuple[int, ...]) -> None:
        network = moved.network
        collective = Collective(moved, loops, moved.num_bytes / self._rates[network])
        self.profile.collectives.append(collective)
        end = max(self._now, self._free[network]) + collective.seconds
        self._free[network] = end
        self._open[key] = collective, end, self._worked

    def _end(self, key: str, times: int) -> None:
        if key not in self._open:
            return
        collective, end, worked = self._open.pop(key)
        collective.overlapped = self._worked > worked
        waited = max(0.0, end - self._now)
        self._now += waited
        self.profile.seconds["waiting"] += times * waited
