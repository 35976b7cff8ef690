"""Trains a preference model: the same program on a TPU pod, a GPU and a laptop.

    python launch/tpu_pod.py --config pmp_7b --workdir DIR --data.input PAIRS

The same as `codepmp train`: see codepmp_jax/commands/train.py.
"""

from codepmp_jax.commands import train
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(train.main)
