"""Evaluates a reward model or a policy, from a benchmark to a report.

    python launch/evaluate.py problems|judge|score|baseline|tokens|accuracy|best-of-n|benchmark|pass-at-k|report --help

The same as `codepmp evaluate`: see codepmp_jax/commands/evaluate.py.
"""

from codepmp_jax.commands import evaluate
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(evaluate.main)
