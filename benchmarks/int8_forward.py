"""What rounding the forward projections to int8 costs in quality: the quickstart's training, with and without.

    python launch/quickstart.py --output runs/quickstart
    python benchmarks/int8_forward.py --pairs runs/quickstart/pairs --seeds 0 1 2 --output runs/int8_forward

Trains pmp_tiny on the same pairs from the same seeds, in float32 and with `--model.int8-forward`, and evaluates on all
held-out pairs. A training that is done is not run again. Prints a table and one line of JSON, and writes both to
`benchmarks/results/int8_forward.md`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from page import ROOT, Page

ARMS = {"float32": (), "int8 forward": ("--model.int8-forward",)}
FIGURES = {
    "eval_accuracy": "held-out accuracy, %",
    "eval_pair_loss": "held-out pair loss",
    "eval_lm_loss": "held-out LM loss",
}
# More than there are held out.
ALL_PAIRS = "100000"


def train(pairs: str, workdir: pathlib.Path, seed: int, more: tuple[str, ...]) -> dict[str, float]:
    """The last evaluation of a run."""
    command = [
        *(sys.executable, "launch/tpu_pod.py", "--config", "pmp_tiny", "--data.input", pairs),
        *("--workdir", str(workdir), "--seed", str(seed), "--eval-pairs", ALL_PAIRS, *more),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    rows = map(json.loads, (ROOT / workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: row[name] for name in FIGURES} for row in rows if "eval_accuracy" in row][-1]


def table(results: dict[str, dict[int, dict[str, float]]]) -> str:
    """A Markdown table: a row a figure, a column an arm, means over seeds with the least and the largest."""
    lines = ["| mean over seeds (least - largest) | " + " | ".join(results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name, words in FIGURES.items():
        factor, digits = (100, 1) if name == "eval_accuracy" else (1, 4)
        cells = []
        for of_seeds in results.values():
            values = [factor * row[name] for row in of_seeds.values()]
            mean, least, most = statistics.mean(values), min(values), max(values)
            cells.append(f"{mean:.{digits}f} ({least:.{digits}f} - {most:.{digits}f})")
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Trains each arm once a seed, then prints and writes the table."""
    parser = argparse.ArgumentParser(description="Compares training with and without int8.")
    parser.add_argument("--pairs", required=True, help="folder of the quickstart's pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", default="runs/int8_forward", help="folder of the runs")
    arguments = parser.parse_args()
    page = Page("int8_forward", "Training with int8 in the forward pass")
    results = {
        arm: {
            seed: train(
                arguments.pairs,
                pathlib.Path(arguments.output) / arm.replace(" ", "_") / str(seed),
                seed,
                more,
            )
            for seed in arguments.seeds
        }
        for arm, more in ARMS.items()
    }
    note = (
        "pmp_tiny, the quickstart's model of 1.6 M parameters in float32, on its pairs; a seed changes the initialisation "
        "and the shuffle, and both columns have the same seeds."
    )
    print(page.write(note, table(results), results=results))


if __name__ == "__main__":
    main()
