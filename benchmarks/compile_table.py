"""What the compiler says of the 7B and 1.5B presets on TPU slices: does a step fit, and how fast can it be?

    python benchmarks/compile_table.py --output runs/compile_table

Needs no TPU, but `pip install -e '.[tpu]'`. Every row is a run of `launch/compile_check.py`, one to five minutes.
Started again, it goes on where it was stopped: after a change of the code, give a new folder. Writes `benchmarks/results/compile_table.md` and `.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import shlex
import subprocess
import sys
from typing import Any

from page import RESULTS, ROOT, Page

from codepmp_jax.cli.progress import progress
from codepmp_jax.config.presets import load_preset
from codepmp_jax.devices.chips import CHIPS
from codepmp_jax.files.json_files import write_json

# Texts padded to the longest, and all logits of a chip at once, as in the authors' code.
_PADDED = "--data.layout padded --loss.lm-chunk-tokens 1048576"
_SHARED = "--data.layout shared"


@dataclasses.dataclass(frozen=True)
class Row:
    """A run of compile_check.py."""

    table: str
    preset: str
    topology: str
    overrides: str
    num_slices: int = 1

    @property
    def arguments(self) -> list[str]:
        """Of compile_check.py."""
        return shlex.split(
            f"--config {self.preset} --topology {self.topology} --num-slices {self.num_slices} "
            f"--mesh.data -1 --data.num-streams 1 {self.overrides}"
        )


def rows_of(devices: int, per_device: int, fsdp: int, layout: str = _SHARED, more: str = "") -> str:
    """Overrides for a batch of per_device rows a device, in one part."""
    return (
        f"{layout} --global-batch-rows {devices * per_device} --accumulation-steps 1 "
        f"--mesh.fsdp {fsdp} {more}"
    ).strip()


FITS = [
    Row("smallest slices", preset, topology, rows_of(devices, 1, devices))
    for preset, topology, devices in (
        ("pmp_7b", "v5e:4x4", 16),
        ("pmp_7b", "v6e:2x2", 4),
        ("pmp_7b", "v5p:2x2x1", 4),
        ("pmp_7b", "tpu7x:2x2x1", 8),
        ("pmp_7b", "v4:2x2x2", 8),
        ("pmp_1b5", "v5e:2x2", 4),
    )
]
# 512 rows, and the preset's 256 on 64 chips. The last: labels of as many rows at a time as memory allows, but for the
# padded rows, whose logits exist all at once.
_SPEED = (
    ("v5e:16x16", 256, 2, 32, "--model.remat save_gate_attention", 2560),
    ("v5e:8x8", 64, 4, 32, "--model.remat save_qkv_attention", 2560),
    ("v5p:4x4x4", 64, 4, 16, "--model.remat save_mlp_attention", 5120),
    ("v6e:16x16", 256, 2, 32, "--model.remat save_mlp_attention", 2560),
    ("v6e:8x8", 64, 4, 32, "--model.remat save_gate_attention", 2560),
)
SPEED = [
    Row(
        table,
        "pmp_7b",
        topology,
        rows_of(
            devices,
            rows,
            fsdp,
            layout,
            remat if layout == _PADDED else f"{remat} --loss.lm-chunk-tokens {labels}",
        ),
    )
    for topology, devices, rows, fsdp, remat, labels in _SPEED
    for table, layout in (("speed, shared", _SHARED), ("speed, padded as the authors'", _PADDED))
    # On v5p libtpu 0.0.42.1 fails: "Reshape should have supported layout before reaching the emitter".
    if layout == _SHARED or topology.endswith(":16x16")
]
SCALING = [
    *(
        Row("scaling", "pmp_7b", topology, rows_of(devices, 2, 16))
        for topology, devices in (("v5e:4x4", 16), ("v5e:16x16", 256))
    ),
    Row("scaling", "pmp_7b", "v5e:8x8", rows_of(128, 2, 16), num_slices=2),
]
ROOMIER = Row(
    "smallest slices",
    "pmp_7b",
    "v6e:2x2",
    rows_of(4, 1, 4, more="--optimizer.first-moment-dtype bfloat16"),
)
ROWS = [*FITS, *SPEED, *SCALING, ROOMIER]


def run(row: Row, output: pathlib.Path, number: int) -> dict[str, Any]:
    """The row's report, from an earlier run of the same command if there is one."""
    path = output / f"{number:02d}.json"
    done = output / f"{number:02d}_command.json"
    if done.exists() and path.exists() and json.loads(done.read_text()) == row.arguments:
        return json.loads(path.read_text())
    command = [sys.executable, "launch/compile_check.py", *row.arguments, "--json", str(path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # 1 is a step that does not fit, of which there is a report too.
    if finished.returncode not in (0, 1) or not path.exists():
        raise SystemExit(f"{shlex.join(command)}\n{finished.stderr}")
    write_json(done, row.arguments)
    return json.loads(path.read_text())


def _tokens(row: Row, report: dict[str, Any]) -> int:
    """Places for tokens in the rows of a chip."""
    data = load_preset(row.preset).data
    length = 2 * data.max_length if _PADDED in row.overrides else data.row_length
    per_chip = CHIPS[row.topology.split(":")[0]].devices_per_chip
    return per_chip * report["rows_per_device"] * (length or 2 * data.max_length)


def table(rows: list[tuple[Row, dict[str, Any]]]) -> str:
    """A Markdown table."""
    lines = [
        "| preset | slice | rows a device | tokens a chip | fsdp | remat | fits | peak GiB | left | step ms | waiting ms "
        "| uncosted ms | MFU ceiling | expected MFU | useful of computed | pairs/s a chip | received GiB "
        "| synchronous layer gathers | compile s |",
        "|---" * 19 + "|",
    ]
    for row, r in rows:
        slices = f"{row.num_slices} x " if row.num_slices > 1 else ""
        cells = [
            row.preset,
            f"{slices}{row.topology}",
            r["rows_per_device"],
            _tokens(row, r),
            r["mesh"]["fsdp"],
            r["remat"],
        ]
        if r["fits"]:
            cells += [
                "yes",
                f"{r['peak_hbm_gib']:.2f}",
                f"{r['headroom']:.1%}",
                f"{r['step_ms']:.0f}",
            ]
            cells += [f"{r['phases_ms'].get('waiting', 0.0):.0f}", f"{r['uncosted_ms']:.0f}"]
            expected = r["expected_mfu_useful"]
            cells += [
                f"{r['mfu_ceiling_useful']:.1%}",
                "-" if expected is None else f"{expected:.1%}",
            ]
            cells += [f"{r['useful_flop_fraction']:.1%}", f"{r['pairs_per_second_per_chip']:.2f}"]
            cells += [f"{r['collective_gib']:.1f}", r["sync_layer_gathers"]]
        else:
            needs = "?" if r["peak_hbm_gib"] is None else f"{r['peak_hbm_gib']:.2f}"
            cells += ["no", needs, *[""] * 10]
        cells.append(f"{r['compile_seconds']:.0f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compiles what is not compiled yet, then prints and writes the tables."""
    parser = argparse.ArgumentParser(description="Compiles the presets for TPU slices.")
    parser.add_argument("--output", default="runs/compile_table", help="folder of the reports")
    output = pathlib.Path(parser.parse_args().output)
    output.mkdir(parents=True, exist_ok=True)
    page = Page("compile_table", "What the TPU compiler says")
    reports = [
        (row, run(row, output, number))
        for number, row in enumerate(progress(ROWS, desc="compile", unit="step"))
    ]
    names = list(dict.fromkeys(row.table for row in ROWS))
    tables = "\n\n".join(
        f"## {name.capitalize()}\n\n{table([entry for entry in reports if entry[0].table == name])}"
        for name in names
    )
    note = (
        "Nothing ran on a TPU: times are bounds from below, from the compiler's cycles, kernels at a share of the "
        "peak and transfers that share the network's rate (`codepmp_jax/aot/replay.py`). `uncosted` is what moves "
        "through memory without cycles, at the memory's full rate; it is not in the step's time. MFU counts useful FLOPs of "
        "pairs of realistic lengths (`codepmp_jax/text/lengths.py`); `expected` divides it by what published runs took "
        "of their bound (`benchmarks/calibration.py`)."
    )
    write_json(
        RESULTS / "compile_table.json",
        [{"table": row.table, "arguments": row.arguments, **report} for row, report in reports],
    )
    print(page.write(note, tables, rows=len(reports)))


if __name__ == "__main__":
    main()
