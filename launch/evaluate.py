"""Evaluates a converted reward model: `accuracy` on pairs, `best-of-n` on candidates."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Any

from codepmp_jax import presets
from codepmp_jax.config import AccuracyConfig, BestOfNConfig
from codepmp_jax.errors import require
from codepmp_jax.evaluation import plots
from codepmp_jax.evaluation.accuracy import accuracy_report, accuracy_table
from codepmp_jax.evaluation.best_of_n import best_of_n_report, best_of_n_table
from codepmp_jax.evaluation.scorer import RewardModel, Scored
from codepmp_jax.evaluation.scores import write_scores
from codepmp_jax.records import PreferencePair, read_problems
from codepmp_jax.shards import ShardedDataset, write_json

COMMANDS = {
    "accuracy": (
        AccuracyConfig,
        "Pairwise accuracy of a Hugging Face reward model on pair shards.",
    ),
    "best-of-n": (BestOfNConfig, "Best-of-N of a Hugging Face reward model over candidates."),
}


def accuracy(config: AccuracyConfig) -> None:
    """Scores the pairs of a split; writes scores.jsonl, report.json and accuracy.png."""
    dataset = ShardedDataset(config.input, PreferencePair, config.split)
    pairs = list(itertools.islice(dataset, config.max_pairs))
    output = make_folder(config.output)
    scored = RewardModel.load(config.model, config.scorer).score_pairs(pairs)
    report = accuracy_report(pairs, scored.scores)
    write(output, config, scored, report)
    plots.plot_accuracy(output / "accuracy.png", report)
    print(accuracy_table(report))
    print(
        f"accuracy {report['accuracy']:.1%} on {report['num_pairs']} pairs, length baseline "
        f"{report['length_baseline']:.1%}, {how_scored(scored)}; report in {output}"
    )


def best_of_n(config: BestOfNConfig) -> None:
    """Scores every candidate; writes scores.jsonl, report.json and best_of_n.png."""
    require(
        pathlib.Path(config.input).is_file(),
        "input",
        config.input,
        "must be a file of candidates",
        "write one with launch/candidates.py",
    )
    problems = list(read_problems(config.input))
    output = make_folder(config.output)
    scored = RewardModel.load(config.model, config.scorer).score_problems(problems)
    report = best_of_n_report(problems, scored.scores)
    write(output, config, scored, report)
    plots.plot_best_of_n(output / "best_of_n.png", report)
    print(best_of_n_table(report))
    last = report["rows"][-1]
    print(
        f"selection accuracy {last['selection_accuracy']:.1%} at N = {last['n']} over "
        f"{report['num_problems']} problems, random pick {last['selection_random']:.1%}, "
        f"{how_scored(scored)}; report in {output}"
    )


def make_folder(path: str) -> pathlib.Path:
    """The output folder, made before the scoring starts."""
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(output: pathlib.Path, config: Any, scored: Scored, report: dict[str, Any]) -> None:
    """Writes scores.jsonl, then report.json with how it was made."""
    write_scores(output / "scores.jsonl", scored.scores)
    facts = {"num_truncated": scored.num_truncated, "seconds": round(scored.seconds, 2)}
    write_json(output / "report.json", report | facts | {"config": dataclasses.asdict(config)})


def how_scored(scored: Scored) -> str:
    """What scoring took, in words."""
    return f"{scored.num_truncated} of {len(scored.scores)} texts cut, {scored.seconds:.0f} s"


def main() -> None:
    """Entry point."""
    command, config = presets.parse_command(COMMANDS)
    {"accuracy": accuracy, "best-of-n": best_of_n}[command](config)


if __name__ == "__main__":
    presets.run(main)
