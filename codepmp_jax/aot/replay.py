"""Goes through a compiled module in the order of its schedule: how long it takes, and what waits for what.

What is assumed: an operation takes the cycles that the compiler estimates for it, a matmul at least as long as at the
chip's peak. Kernels, for which it estimates none, reach the share of the peak that attention.py gives. Transfers, for
which it estimates none either, share the rate of their network evenly; an operation that needs one waits until it has
ended, and a synchronous one keeps everything waiting. Nothing else costs time: no launches, no latencies, no
stragglers. What the compiler estimates no cycles for is added up in `uncosted_bytes`. So the result is a bound from
below, for comparing programs more than for predicting them: calibration.py has how far from it measured steps are.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence

from codepmp_jax.aot.attention import kernel_efficiency
from codepmp_jax.aot.collectives import Transfer, begins, ends, rendezvous, transfer
from codepmp_jax.aot.estimate import estimated_seconds
from codepmp_jax.aot.hlo import (
    Instruction,
    Module,
    hbm_bytes,
    matmul_flops,
    multiplies_int8,
    num_bytes,
    trip_count,
    whole,
)
from codepmp_jax.aot.links import Link, ring_share
from codepmp_jax.devices.chips import Chip

# Bytes/s of a device between slices: 200 Gbit/s for a host of four, which is assumed.
DCN_BANDWIDTH = 6.25e9
# The same to the memory of its host, which is assumed too.
HOST_BANDWIDTH = 16e9
# Operations that move nothing: names for memory, parts of other operations, and the ends of those that were begun.
_FREE = frozenset(
    {
        "after-all",
        "bitcast",
        "constant",
        "get-tuple-element",
        "opt-barrier",
        "parameter",
        "partition-id",
        "replica-id",
        "tuple",
    }
)


@dataclasses.dataclass
class Collective:
    """A collective of the program."""

    transfer: Transfer
    loops: tuple[int, ...]
    """Trip counts of the loops around it, from the outermost in."""
    seconds: float
    """That one transfer takes alone."""
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
    matmul_seconds: float = 0.0
    """Of operations that hold matmuls, without kernels."""
    uncosted_bytes: float = 0.0
    """Read from and written to the device's memory by operations that are given no cycles: prefetches, transfers,
    scatters, what moves data without computing."""
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
    coordinates: Sequence[Sequence[int]] = (),
    *,
    is_sketch: bool = False,
) -> Profile:
    """The profile of a step; `kernel_flops` says what a Pallas kernel computes, from its name and the shapes
    of its operands. All rates of `chip` are known. With the `coordinates` of the mesh's devices in their slice,
    transfers along lines that do not close to a ring are slower. A sketch is a module that has no cycles yet:
    operations take what estimate.py says.
    """
    run = _Replay(module, chip, kernel_flops, coordinates, is_sketch)
    run.computation(module.entry, ())
    return run.profile


class _Replay:
    def __init__(
        self,
        module: Module,
        chip: Chip,
        kernel_flops: Callable[[str, list[str]], float],
        coordinates: Sequence[Sequence[int]],
        is_sketch: bool,
    ):
        assert chip.clock is not None
        assert chip.peak_flops is not None
        assert chip.ici_bandwidth is not None
        self._module = module
        self._chip = chip
        self._clock = chip.clock
        self._peak = chip.peak_flops
        self._peak_int8 = chip.peak_int8 or chip.peak_flops
        self._coordinates = coordinates
        self._is_sketch = is_sketch
        self._rates = {"ici": chip.ici_bandwidth, "dcn": DCN_BANDWIDTH, "host": HOST_BANDWIDTH}
        self._kernel_flops = kernel_flops
        self.profile = Profile()
        self._now = 0.0
        self._worked = 0.0
        self._links = {network: Link() for network in self._rates}
        # Of the loop that is gone through, how long each network had nothing to do.
        self._idle = dict.fromkeys(self._rates, 0.0)
        # What has begun and not ended: key -> (collective, what had been worked before).
        self._open: dict[str, tuple[Collective, float]] = {}

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
        """One trip, as the others pass alike. What was under way before goes on where a trip leaves its network
        idle."""
        trips = trip_count(self._module, around, loop)
        began, links, idle = self._now, self._links, self._idle
        self._links = {network: Link() for network in links}
        self._idle = dict.fromkeys(links, 0.0)
        (body,) = loop.called
        self.computation(body, (*loops, trips))
        self._now = began + (self._now - began) * trips
        inner, self._links, self._idle = self._idle, links, idle
        for network, link in links.items():
            idle[network] += link.advance(inner[network] * trips)

    def _pass(self, seconds: float) -> None:
        """Lets time pass on all networks."""
        self._now += seconds
        for network, link in self._links.items():
            self._idle[network] += link.advance(seconds)

    def _work(self, body: dict[str, Instruction], instruction: Instruction, times: int) -> None:
        profile = self.profile
        flops, at_peak = self._matmuls(body, instruction)
        profile.flops += times * flops
        if is_kernel(instruction):
            name = kernel_name(instruction)
            shapes = [body[operand].shape for operand in instruction.operands]
            computed = self._kernel_flops(name, shapes)
            seconds = computed / (kernel_efficiency(name, self._chip) * self._peak)
            profile.kernel_flops += times * computed
            profile.kernel_calls[name] += times
            profile.seconds["attention"] += times * seconds
        else:
            seconds = self._seconds(body, instruction, at_peak)
            if not seconds:
                profile.uncosted_bytes += times * self._moved(body, instruction)
                return
            profile.seconds[phase(instruction.op_name)] += times * seconds
            if flops:
                profile.matmul_seconds += times * seconds
        self._pass(seconds)
        self._worked += seconds

    def _seconds(
        self, body: dict[str, Instruction], instruction: Instruction, at_peak: float
    ) -> float:
        """Of an instruction whose matmuls take `at_peak` at the peak; 0 where nothing says it."""
        if instruction.cycles:
            return max(instruction.cycles / self._clock, at_peak)
        opcode = instruction.opcode
        if not self._is_sketch or opcode in _FREE or opcode.endswith(("-start", "-done")):
            return 0.0
        if not at_peak and transfer(self._module, body, instruction) is not None:
            return 0.0
        return estimated_seconds(self._module, body, instruction, at_peak, self._chip)

    def _matmuls(
        self, body: dict[str, Instruction], instruction: Instruction
    ) -> tuple[float, float]:
        """(FLOPs, seconds at the peak) of the matmuls of an instruction and of what it calls."""
        flops = float(matmul_flops(body, instruction))
        is_int8 = bool(flops) and multiplies_int8(body, instruction)
        at_peak = flops / (self._peak_int8 if is_int8 else self._peak)
        for name in instruction.called:
            inner = self._module.computations[name]
            for part in inner.values():
                more_flops, more_seconds = self._matmuls(inner, part)
                flops, at_peak = flops + more_flops, at_peak + more_seconds
        return flops, at_peak

    def _moved(self, body: dict[str, Instruction], instruction: Instruction) -> float:
        """Bytes that an instruction without cycles reads from the device's memory and writes to it, at least."""
        opcode = instruction.opcode
        operands = [body[name].shape for name in instruction.operands if name in body]
        if opcode in _FREE or opcode.endswith("-done") or ends(self._module, instruction):
            return 0.0
        if opcode == "custom-call" and not operands:
            return 0.0  # It allocates.
        if opcode in (
            "slice-start",
            "copy-start",
            "dynamic-slice-start",
            "dynamic-update-slice-start",
        ):
            # The smallest of the arrays moves; both ends of it may be in this memory.
            arrays = [part for shape in (instruction.shape, *operands) for part in whole(shape)]
            sizes = [size for part in arrays if (size := num_bytes(part)) > 4]
            ends_here = sum(hbm_bytes(part) > 4 for part in whole(instruction.shape))
            return float(min(sizes, default=0) * min(ends_here, 2))
        if opcode == "scatter":
            # In place: what is updated is read and written.
            return 3.0 * hbm_bytes(operands[-1])
        if opcode.endswith("-start") or begins(self._module, instruction):
            return float(hbm_bytes(instruction.shape))  # Both what is sent and what is received.
        return float(sum(map(hbm_bytes, operands)) + hbm_bytes(instruction.shape))

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
            self._links["dcn"].rename(sent, instruction.name)
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
        rate = self._rates[moved.network]
        if moved.network == "ici":
            share = ring_share(self._chip, self._coordinates, moved.group, moved.num_axes)
            rate *= moved.num_axes * share
        collective = Collective(moved, loops, moved.num_bytes / rate)
        self.profile.collectives.append(collective)
        self._links[moved.network].begin(key, collective.seconds)
        self._open[key] = collective, self._worked

    def _end(self, key: str, times: int) -> None:
        if key not in self._open:
            return
        collective, worked = self._open.pop(key)
        collective.overlapped = self._worked > worked
        waited = self._links[collective.transfer.network].until(key)
        self._pass(waited)
        self.profile.seconds["waiting"] += times * waited
