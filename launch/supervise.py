"""Runs a training command until it is done: starts it again when it asks to be resumed, and when it crashes.

    python launch/supervise.py -- python launch/tpu_pod.py --config pmp_7b --workdir DIR --data.input PAIRS

The same as `codepmp supervise`: see codepmp_jax/commands/supervise.py.
"""

from codepmp_jax.commands import supervise
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(supervise.main)
