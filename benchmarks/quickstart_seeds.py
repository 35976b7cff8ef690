"""What the quickstart reaches, over seeds: held-out accuracy by rate, Best-of-N, seconds.

    python benchmarks/quickstart_seeds.py --seeds 0 1 2 --output runs/quickstart_seeds

A seed changes the split of the sources, the weak rewrites, the initialisation and the shuffle. Prints a
table and one line of JSON, and writes both to `benchmarks/results/quickstart_seeds.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from page import ROOT, Page


def figures(summary: dict[str, Any]) -> dict[str, float]:
    """Figure -> value, from a summary.json."""
    return {
        "held-out accuracy": summary["accuracy"],
        **{f"accuracy, {name}": value for name, value in summary["accuracy_by_subset"].items()},
        "longer one wins": summary["length_baseline"],
        **{f"best of {n}": value for n, value in summary["best_of_n"].items()},
    }


def table(summaries: dict[int, dict[str, Any]]) -> str:
    """A Markdown table: a row a figure, a column a seed, and the mean."""
    seeds = list(summaries)
    columns = [figures(summary) for summary in summaries.values()]
    lines = [
        "| figure | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean |",
        "|---" * (len(seeds) + 2) + "|",
    ]
    for name in columns[0]:
        values = [column[name] for column in columns]
        cells = " | ".join(f"{value:.1%}" for value in [*values, statistics.mean(values)])
        lines.append(f"| {name} | {cells} |")
    for name in ("num_pairs", "seconds"):
        values = [summary[name] for summary in summaries.values()]
        cells = " | ".join(f"{value:.0f}" for value in [*values, statistics.mean(values)])
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the quickstart once a seed, then prints and writes the table."""
    parser = argparse.ArgumentParser(description="Runs the quickstart once a seed.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", default="runs/quickstart_seeds", help="folder of the runs")
    arguments = parser.parse_args()
    page = Page("quickstart_seeds", "The quickstart over seeds")
    summaries = {}
    for seed in arguments.seeds:
        output = f"{arguments.output}/{seed}"
        command = ["launch/quickstart.py", "--seed", str(seed), "--output", output]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
        summaries[seed] = json.loads((ROOT / output / "summary.json").read_text())
    note = (
        "`best of N` is the share of problems where the author's code is scored above N - 1 weak "
        "rewrites; `seconds` leaves out the installation."
    )
    print(page.write(note, table(summaries), seeds=summaries))


if __name__ == "__main__":
    main()
