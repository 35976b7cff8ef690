"""The figures of a whole run, read from the files of its stages."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from codepmp_jax.evaluation.reports import plots
from codepmp_jax.evaluation.reports.run_plot import run_figure
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.files.json_files import read_steps


def summarize(folder: pathlib.Path) -> dict[str, Any]:
    """Draws quickstart.png in `folder`, and returns the figures of the run in it.

    The folder holds pairs/, train/, accuracy/ and best_of_n/ as the stages write them, and hf/.
    `best_of_n` maps N to the selection accuracy: how often the correct one among N candidates is picked.
    """

    def read(name: str) -> dict[str, Any]:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    accuracy, best_of_n = read("accuracy/report.json"), read("best_of_n/report.json")
    metrics, _ = read_steps(folder / "train" / "metrics.jsonl")
    plot = folder / "quickstart.png"
    plots.save(plot, run_figure(metrics, accuracy, best_of_n))
    splits = read("pairs/manifest.json")["splits"].values()
    subsets = accuracy.get("subsets", {}).items()
    rows = best_of_n["rows"]
    return {
        "num_pairs": sum(split["num_records"] for split in splits),
        "accuracy": accuracy["accuracy"],
        "accuracy_interval": accuracy["accuracy_interval"],
        "accuracy_by_subset": {name: figures["accuracy"] for name, figures in subsets},
        "length_baseline": accuracy["length_baseline"],
        "best_of_n": {str(row["n"]): row["selection_accuracy"] for row in rows if row["n"] > 1},
        "hf_folder": str(folder / "hf"),
        "plot": str(plot),
    }


def summary_table(summary: dict[str, Any]) -> str:
    """A table of `seconds_by_stage`, and one of the figures of `summarize`."""
    rows = [
        ("held-out accuracy", summary["accuracy"]),
        *((f"  {name}", value) for name, value in summary["accuracy_by_subset"].items()),
        ("longer one wins", summary["length_baseline"]),
        *((f"best of {n}", value) for n, value in summary["best_of_n"].items()),
    ]
    seconds = summary["seconds_by_stage"].items()
    stages = format_table(("stage", "seconds"), [(name, f"{value:.0f}") for name, value in seconds])
    figures = format_table(("figure", "value"), [(name, f"{value:.1%}") for name, value in rows])
    return f"{stages}\n\n{figures}"
