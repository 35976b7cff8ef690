"""Pair shards -> a JSONL or Parquet file for TRL: `python launch/export_pairs.py --help`."""

from codepmp_jax.config import ExportConfig, presets
from codepmp_jax.data.interchange import export_pairs


def main() -> None:
    """Exports one split and prints a summary."""
    config = presets.parse(ExportConfig, "Pair shards -> JSONL or Parquet preference pairs.")
    num_pairs = export_pairs(config)
    print(f"{num_pairs} pairs of {config.input}, split {config.split} -> {config.output}")


if __name__ == "__main__":
    presets.run(main)
