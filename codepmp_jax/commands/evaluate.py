"""Evaluates a reward model or a policy, from a benchmark to a report. Commands, in the data's order:

problems    benchmark -> problems          (then codepmp candidates: problems -> candidates)
judge       candidates -> candidates with a judgement each
score       candidates or pairs -> scores
baseline    candidates or pairs -> scores without a reward model
tokens      a run and pairs or candidates -> a page with the reward of every token
accuracy    pairs and scores -> pairwise accuracy
best-of-n   judged candidates and scores -> Best-of-N
benchmark   responses of a reward model benchmark and scores -> its table
pass-at-k   judged candidates of policies -> pass@k and differences
report      several of accuracy and best-of-n side by side
"""

from __future__ import annotations

import importlib

from codepmp_jax import config
from codepmp_jax.config import presets

COMMANDS = {
    "problems": (config.ProblemsConfig, "Writes the problems of a benchmark."),
    "judge": (config.JudgeConfig, "Judges candidates."),
    "score": (config.ScoreConfig, "Scores candidates or pairs."),
    "baseline": (config.BaselineConfig, "Scores candidates or pairs without a reward model."),
    "tokens": (config.TokenPageConfig, "Shows the reward of every token of some texts."),
    "accuracy": (config.AccuracyConfig, "Pairwise accuracy of scores."),
    "best-of-n": (config.BestOfNConfig, "Best-of-N of scores over judged candidates."),
    "benchmark": (config.BenchmarkConfig, "The table of a reward model benchmark."),
    "pass-at-k": (config.PassAtKConfig, "pass@k of policies, and their differences."),
    "report": (config.ReportConfig, "Puts several evaluations side by side."),
}
# Command -> the module of codepmp_jax.evaluation whose run(config) does it. Only the chosen one is imported:
# PyTorch is needed by `score --backend torch` alone.
_MODULES = {
    "problems": "problems",
    "judge": "judging",
    "score": "scorers.scoring",
    "baseline": "baselines.run",
    "tokens": "token_page",
    "accuracy": "accuracy",
    "best-of-n": "best_of_n",
    "benchmark": "benchmarks.run",
    "pass-at-k": "pass_at_k",
    "report": "reports.report",
}


def main() -> None:
    """Parses the command and runs it."""
    command, settings = presets.parse_command(COMMANDS)
    module = importlib.import_module(f"codepmp_jax.evaluation.{_MODULES[command]}")
    module.run(settings)
