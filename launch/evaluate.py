"""Evaluates a reward model, from a benchmark to a report. Commands, in the data's order:

problems    benchmark -> problems          (then launch/candidates.py: problems -> candidates)
judge       candidates -> candidates with a judgement each
score       candidates or pairs -> scores
accuracy    pairs and scores -> pairwise accuracy
best-of-n   judged candidates and scores -> Best-of-N
report      several of the last two side by side
"""

from __future__ import annotations

import importlib

from codepmp_jax import config
from codepmp_jax.config import presets

# Command -> its config, the module of codepmp_jax.evaluation whose run(config) does it, and its help. Only
# the chosen one is imported: PyTorch is needed by `score --backend torch` alone.
COMMANDS = {
    "problems": (config.ProblemsConfig, "problems", "Writes the problems of a benchmark."),
    "judge": (config.JudgeConfig, "judging", "Judges candidates."),
    "score": (config.ScoreConfig, "scorers.scoring", "Scores candidates or pairs."),
    "accuracy": (config.AccuracyConfig, "accuracy", "Pairwise accuracy of scores."),
    "best-of-n": (config.BestOfNConfig, "best_of_n", "Best-of-N of scores over judged candidates."),
    "report": (config.ReportConfig, "reports.report", "Puts several evaluations side by side."),
}


def main() -> None:
    """Parses the command and runs it."""
    command, settings = presets.parse_command(
        {name: (kind, text) for name, (kind, _, text) in COMMANDS.items()}
    )
    module = importlib.import_module(f"codepmp_jax.evaluation.{COMMANDS[command][1]}")
    module.run(settings)


if __name__ == "__main__":
    presets.run(main)
