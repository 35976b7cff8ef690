"""Preference pairs in JSONL or Parquet -> pair shards.

    python launch/import_pairs.py --input FILE_OR_FOLDER --output PAIRS

The same as `codepmp import-pairs`: see codepmp_jax/commands/import_pairs.py.
"""

from codepmp_jax.commands import import_pairs
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(import_pairs.main)
