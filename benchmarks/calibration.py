"""How much longer measured steps took than compile-check's bound: the shapes of published runs, compiled here.

    python benchmarks/calibration.py --output runs/calibration

Needs no TPU, but `pip install -e '.[tpu]'`. Compiles a step of language modelling on full rows, of the published model's
dimensions, with as many rows a chip as were measured; a row takes two to ten minutes. Started again, it goes on where it
was stopped: after a change of the code, give a new folder. Writes `benchmarks/results/calibration.md` and `.json`, from
which `codepmp_jax/aot/calibration.py` has its figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from typing import Any

from page import RESULTS, Page

from codepmp_jax.aot.report import Report
from codepmp_jax.cli.progress import progress
from codepmp_jax.commands.compile_check import leave_tpus_alone, read_report
from codepmp_jax.config import DataConfig, LmConfig, MeshConfig, ModelConfig, TrainConfig
from codepmp_jax.config.model import RematPolicy
from codepmp_jax.config.presets import load_preset
from codepmp_jax.files.json_files import write_json

_MAXTEXT = "https://github.com/AI-Hypercomputer/maxtext/blob/main/MaxText/configs"
_RECIPES = "https://github.com/AI-Hypercomputer/tpu-recipes/blob/main/training/trillium"


@dataclasses.dataclass(frozen=True)
class Run:
    """A published run, and how its shapes are compiled."""

    name: str
    source: str
    topology: str
    model: ModelConfig
    length: int
    rows: int
    """A chip."""
    fsdp: int
    remat: RematPolicy
    seconds: float | None = None
    """A step, as measured."""
    tflops: float | None = None
    """TFLOP/s a chip instead, by MaxText's count: attention over all keys, nothing for what is computed again."""
    theirs: str = ""
    """What the published run did otherwise."""

    @property
    def chip(self) -> str:
        """Its chip."""
        return self.topology.split(":")[0]

    @property
    def measured(self) -> float:
        """Seconds a step."""
        if self.seconds is not None:
            return self.seconds
        assert self.tflops is not None
        m = self.model
        heads = m.head_dim * (2 * m.num_heads + 2 * m.num_kv_heads)
        weights = m.num_layers * m.embed_dim * (heads + 3 * m.mlp_dim) + m.embed_dim * m.vocab_size
        scores = 2 * m.num_layers * self.length * m.num_heads * m.head_dim
        return 6 * self.rows * self.length * (weights + scores) / (self.tflops * 1e12)

    def config(self, num_chips: int) -> TrainConfig:
        """The run, of so many chips."""
        return TrainConfig(
            # Attention as in MaxText.
            model=dataclasses.replace(
                self.model, attention="splash", remat=self.remat, init_from=None
            ),
            data=DataConfig(layout="packed", max_length=self.length, row_length=self.length),
            loss=LmConfig(lm_chunk_tokens=4096),
            mesh=MeshConfig(data=-1, fsdp=self.fsdp),
            global_batch_rows=self.rows * num_chips,
            num_steps=1000,
        )


def scaled(embed: int, layers: int) -> ModelConfig:
    """MaxText's own model: global_parameter_scale of 16 or 32."""
    return ModelConfig(
        family="llama",
        vocab_size=32000,
        embed_dim=embed,
        mlp_dim=28672,
        num_layers=layers,
        num_heads=64,
        num_kv_heads=64,
        head_dim=128,
    )


RUNS = (
    Run(
        "MaxText 16B, v5e-256",
        f"{_MAXTEXT}/v5e/README.md",
        "v5e:16x16",
        scaled(4096, 32),
        2048,
        6,
        256,
        "full",
        tflops=0.6110 * 197,
    ),
    Run(
        "MaxText 32B, v5p-128",
        f"{_MAXTEXT}/v5p/README.md",
        "v5p:4x4x4",
        scaled(8192, 32),
        2048,
        7,
        16,
        "save_gate_attention",
        tflops=0.7147 * 459,
        theirs="fsdp 16 x tensor 4, next to nothing computed again",
    ),
    Run(
        "MaxText Llama 3.1 8B, v6e-256",
        f"{_RECIPES}/Llama3.1-8B-MaxText/v6e-256/README.md",
        "v6e:16x16",
        load_preset("pmp_llama31_8b").model,
        8192,
        4,
        256,
        "offload_qkv_attention",
        seconds=4.546,
        theirs="a layer's input in the host's memory, too; attention in blocks of 2048",
    ),
)


def compile_run(run: Run, path: pathlib.Path) -> dict[str, Any]:
    """The report of the run's shapes, from an earlier compilation if there is one."""
    if path.exists():
        return read_report(str(path))
    from codepmp_jax.aot.search import check_alone
    from codepmp_jax.aot.topology import describe
    from codepmp_jax.aot.workload import full_rows
    from codepmp_jax.models.splash import DEFAULT_BLOCK

    _, devices = describe(run.topology)
    rows = full_rows(run.length, DEFAULT_BLOCK)
    report: Report = check_alone(run.config(len(devices)), run.topology, 1, rows)
    if not report.fits:
        raise SystemExit(f"{run.name}:\n{report.text()}")
    write_json(path, dataclasses.asdict(report))
    return dataclasses.asdict(report)


def table(rows: list[tuple[Run, dict[str, Any]]]) -> str:
    """A Markdown table."""
    lines = [
        "| run | rows x tokens a chip | measured s | bound s | measured / bound | kernels, s of the bound | ours: fsdp, "
        "remat | theirs |",
        "|---" * 8 + "|",
    ]
    for run, report in rows:
        bound = report["step_ms"] / 1e3
        cells = (
            f"[{run.name}]({run.source})",
            f"{run.rows} x {run.length}",
            f"{run.measured:.3f}",
            f"{bound:.3f}",
            f"**{run.measured / bound:.2f}**",
            f"{report['phases_ms'].get('attention', 0.0) / 1e3:.2f}",
            f"{run.fsdp}, {run.remat}",
            run.theirs,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compiles what is not compiled yet, then prints and writes the table."""
    parser = argparse.ArgumentParser(description="Compares the bound with published steps.")
    parser.add_argument("--output", default="runs/calibration", help="folder of the reports")
    output = pathlib.Path(parser.parse_args().output)
    output.mkdir(parents=True, exist_ok=True)
    leave_tpus_alone()
    page = Page("calibration", "Measured steps against the compiler's bound")
    rows = [
        (run, compile_run(run, output / f"{run.chip}.json"))
        for run in progress(RUNS, desc="compile", unit="run")
    ]
    note = (
        "Nothing ran on a TPU here: measured steps are as published, by MaxText, another program of the same matmuls on an "
        "older compiler, and the bound is that of this code on their shapes (language modelling, full rows). TFLOP/s were "
        "turned into seconds by MaxText's own count of FLOPs. What the published run did otherwise moves the ratio: where "
        "it computed less again, the ratio is too small."
    )
    figures = {
        run.chip: {
            "run": run.name,
            "source": run.source,
            "measured_seconds": round(run.measured, 3),
            "bound_seconds": round(report["step_ms"] / 1e3, 3),
        }
        for run, report in rows
    }
    write_json(RESULTS / "calibration.json", figures)
    print(page.write(note, table(rows), rows=len(rows)))


if __name__ == "__main__":
    main()
