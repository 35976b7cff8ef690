"""What a compilation shows, for programs and for people."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Report:
    """A training step on a TPU slice. What is only known of a step that fits is None of another one.

    Times are bounds from below; replay.py says what they assume.
    """

    topology: str
    num_slices: int
    num_devices: int
    """As jax counts them."""
    mesh: dict[str, int]
    layout: str
    remat: str
    attention: str
    accumulation_steps: int
    rows_per_device: int
    """In one of the accumulation_steps parts of a step."""
    compiler_options: dict[str, str]
    fits: bool
    hbm_gib: float
    """Of a device, that a program may use."""
    compile_seconds: float
    short_of: Literal["HBM", "VMEM"] | None = None
    """The memory that a step which does not fit lacks: the device's, or the scratch memory of an operation."""
    peak_hbm_gib: float | None = None
    """Of a device; of a step that does not fit, what the compiler says it needs."""
    headroom: float | None = None
    """Share of the device's memory that is left."""
    step_ms: float | None = None
    mfu_ceiling_useful: float | None = None
    """Useful FLOP/s over the peak."""
    expected_ms: float | None = None
    """step_ms times what published runs on this chip took of their bound; None of a chip without such a run."""
    expected_mfu_useful: float | None = None
    calibrated_by: str = ""
    """That run and its source."""
    uncosted_gib: float | None = None
    """Read from and written to the device's memory, in a step, by what the compiler estimates no cycles for."""
    uncosted_ms: float | None = None
    """That this takes at the memory's full rate, at least, where nothing hides it. It is not in step_ms."""
    useful_flop_fraction: float | None = None
    """Useful FLOPs over those computed."""
    sync_layer_gathers: int | None = None
    """All-gathers of a step that overlap with no computation, in loops over the layers (or, if there are any, over
    chunks of labels)."""
    collective_gib: float | None = None
    """That a device receives in a step."""
    collective_ms: float | None = None
    """That this takes if each transfer has its network to itself; phases_ms["waiting"] is what of it nothing hides."""
    pairs_per_second_per_chip: float | None = None
    """None of a run that trains on no pairs."""
    tokens_per_second_per_chip: float | None = None
    """Without padding, and without repeated prefixes."""
    computed_tflop: float | None = None
    """Of a device in a step: matmuls and attention."""
    useful_tflop: float | None = None
    peak_tflops: float | None = None
    """Of a device in a second."""
    matmul_ms: float | None = None
    """Of operations that hold matmuls, without attention's kernels."""
    matmul_rate: float | None = None
    """FLOP/s of these matmuls, over the peak."""
    phases_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    collectives: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """By kind and by whether they overlap with computation: count per step, GiB, ms."""
    kernel_calls: dict[str, int] = dataclasses.field(default_factory=dict)
    row: dict[str, float] = dataclasses.field(default_factory=dict)
    """Means over rows of pairs or documents of realistic lengths."""
    compiler_says: str = ""
    advice: list[str] = dataclasses.field(default_factory=list)

    def text(self) -> str:
        """A screen for people."""
        return "\n".join(f"{name:<12}{value}" for name, value in self._lines())

    def _expected(self) -> str:
        if self.expected_ms is None or self.step_ms is None:
            return "not known: no measured run on this chip to compare the bound with"
        return (
            f"{self.expected_ms:.0f} ms, MFU {self.expected_mfu_useful:.1%}: {self.expected_ms / self.step_ms:.2f} times "
            f"the bound, as {self.calibrated_by}"
        )

    def _matmuls(self) -> list[tuple[str, str]]:
        if self.matmul_ms is None or self.step_ms is None:
            return []
        others = sum(self.phases_ms.get(name, 0.0) for name in ("attention", "waiting"))
        rest = self.step_ms - others - self.matmul_ms
        return [
            (
                "matmuls",
                f"{self.matmul_ms:.1f} ms at {self.matmul_rate:.1%} of the peak, and {rest:.1f} ms of other operations; "
                "attention and waiting are apart",
            )
        ]

    def _lines(self) -> list[tuple[str, str]]:
        slices = f"{self.num_slices} x " if self.num_slices > 1 else ""
        mesh = " x ".join(f"{name} {size}" for name, size in self.mesh.items())
        parts = f"{self.accumulation_steps} x {self.rows_per_device} rows a device"
        options = [f"{name}={value}" for name, value in self.compiler_options.items()]
        lines = [
            ("slice", f"{slices}{self.topology}, {self.num_devices} devices: {mesh}"),
            ("step", f"{self.layout}, {parts}, remat {self.remat}, attention {self.attention}"),
            *zip(["options", *[""] * len(options)], options, strict=False),
            ("compiled in", f"{self.compile_seconds:.0f} s"),
        ]
        if not self.fits:
            needs = "" if self.peak_hbm_gib is None else f" {self.peak_hbm_gib:.2f} GiB of"
            return [
                *lines,
                ("fits", f"NO: needs{needs} {self.hbm_gib} GiB a device")
                if self.short_of != "VMEM"
                else (
                    "compiles",
                    "NO: an operation needs more scratch memory (VMEM) than its limit",
                ),
                ("compiler", self.compiler_says),
                *zip(["try", *[""] * len(self.advice)], self.advice, strict=False),
            ]
        assert self.step_ms is not None
        rate = f"{self.tokens_per_second_per_chip:.0f} tokens"
        if self.pairs_per_second_per_chip is not None:
            rate = f"{self.pairs_per_second_per_chip:.2f} pairs"
        phases = sorted(self.phases_ms.items(), key=lambda item: -item[1])
        return [
            *lines,
            (
                "fits",
                f"yes: {self.peak_hbm_gib:.2f} of {self.hbm_gib} GiB, {self.headroom:.1%} left",
            ),
            ("step time", f"{self.step_ms:.1f} ms or more"),
            *(("", f"{ms:10.1f} ms  {ms / self.step_ms:6.1%}  {name}") for name, ms in phases),
            *self._matmuls(),
            (
                "useful",
                f"{self.useful_flop_fraction:.1%} of the {self.computed_tflop:.0f} TFLOP computed: "
                f"MFU {self.mfu_ceiling_useful:.1%} at most, "
                f"{rate} a second and chip",
            ),
            ("expected", self._expected()),
            (
                "uncosted",
                f"{self.uncosted_gib:.1f} GiB through memory that has no cycles: {self.uncosted_ms:.0f} ms or more "
                "where nothing hides them",
            ),
            (
                "collectives",
                f"{self.collective_gib:.2f} GiB received, {self.collective_ms:.0f} ms one by one; "
                f"{self.sync_layer_gathers} synchronous layer gathers",
            ),
            *(
                (
                    "",
                    f"{c['count']:8.0f} {c['kind']:<19}{c['gib']:7.2f} GiB {c['ms']:6.0f} ms  "
                    f"{'overlapped' if c['overlapped'] else 'synchronous'}",
                )
                for c in self.collectives
            ),
        ]
