"""A roofline over slices: FLOPs for each byte of the network, and the speed that this allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from codepmp_jax.devices.chips import CHIPS
from codepmp_jax.files import output, storage

_GIB = 2.0**30


def draw_roofline(reports: Sequence[Mapping[str, Any]], path: str) -> None:
    """Writes a PNG with a point for each report of a step that fits, under the roof of its chip.

    A roof is what a device can do: its peak, or as much as its network feeds, if nothing overlapped any
    better than fully.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    points = [
        (
            r["useful_tflop"] * 1e12 / (r["collective_gib"] * _GIB),
            1e3 * r["useful_tflop"] / r["step_ms"],
        )
        for r in reports
    ]
    bounds = [x for x, _ in points] or [1e3]
    span = np.geomspace(min(bounds) / 8, max(bounds) * 8, 200)
    colors: dict[str, str] = {}
    for report, (x, y) in zip(reports, points, strict=True):
        name = report["topology"].split(":")[0]
        if name not in colors:
            chip = CHIPS[name]
            assert chip.peak_flops is not None
            assert chip.ici_bandwidth is not None
            colors[name] = f"C{len(colors)}"
            roof = np.minimum(chip.peak_flops, span * chip.ici_bandwidth) / 1e12
            axes.plot(span, roof, color=colors[name], linewidth=1.5, label=name)
        slices = f"{report['num_slices']} x " if report["num_slices"] > 1 else ""
        axes.plot(x, y, "o", color=colors[name])
        axes.annotate(
            f"{slices}{report['topology']}, {report['layout']}: {report['mfu_ceiling_useful']:.0%}",
            (x, y),
            xytext=(6, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("useful FLOPs per byte that a device receives")
    axes.set_ylabel("useful TFLOP/s of a device")
    axes.set_title("Training step: ceiling on each slice", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.8, which="major")
    if colors:
        axes.legend(frameon=False, loc="lower right")
    with output.file(path) as file, storage.replaced(file) as partial:
        figure.savefig(partial, dpi=150, format=file.suffix.removeprefix(".") or None)
