"""Compiles the training step for a TPU slice, without a TPU: does it fit, and how fast can it be?

    python launch/compile_check.py --config pmp_7b --topology v5p:4x4x4

The same as `codepmp compile-check`: see codepmp_jax/commands/compile_check.py.
"""

from codepmp_jax.commands import compile_check
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(compile_check.main)
