"""Pair shards -> a JSONL or Parquet file for TRL.

    python launch/export_pairs.py --input PAIRS --output pairs.parquet

The same as `codepmp export-pairs`: see codepmp_jax/commands/export_pairs.py.
"""

from codepmp_jax.commands import export_pairs
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(export_pairs.main)
