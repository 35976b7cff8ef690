"""Preference data of others -> pair shards for RM finetuning.

    python launch/rm_data.py --config rm_data_mathshepherd

The same as `codepmp rm-data`: see codepmp_jax/commands/rm_data.py.
"""

from codepmp_jax.commands import rm_data
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(rm_data.main)
