"""A grid of training runs with their evaluations: tables, plots and a page.

    python launch/experiment.py --config exp_tiny

The same as `codepmp experiment`: see codepmp_jax/commands/experiment.py.
"""

from codepmp_jax.commands import experiment
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(experiment.main)
