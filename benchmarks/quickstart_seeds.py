"""What the quickstart reaches, over seeds: held-out accuracy by rate, Best-of-N, seconds.

    python benchmarks/quickstart_seeds.py --seeds 0 1 2 --output runs/quickstart_seeds

A seed changes the split of the sources, the weak rewrites, the initialisation and the shuffle. Prints a
table and one line of JSON, and writes both to `benchmarks/results/quickstart_seeds.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "quickstart_seeds.md"


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
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    summaries = {}
    for seed in arguments.seeds:
        output = f"{arguments.output}/{seed}"
        command = ["launch/quickstart.py", "--seed", str(seed), "--output", output]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
        summaries[seed] = json.loads((ROOT / output / "summary.json").read_text())
    text = "\n".join(
        [
            "# The quickstart over seeds",
            "",
            f"    python {shlex.join(['benchmarks/quickstart_seeds.py', *sys.argv[1:]])}",
            "",
            f"{datetime.date.today()}, commit {commit}, Python {platform.python_version()}, "
            f"{os.cpu_count()} CPU cores. `best of N` is the share of problems where the author's code is scored "
            "above N - 1 weak rewrites; `seconds` leaves out the installation.",
            "",
            table(summaries),
            "",
            "```json",
            json.dumps({"benchmark": "quickstart_seeds", "commit": commit, "seeds": summaries}),
            "```",
        ]
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
