"""Pair shards -> a JSONL or Parquet file for TRL: `codepmp export-pairs --input PAIRS --output FILE`."""

from codepmp_jax.config import ExportConfig, presets

COMMAND = (ExportConfig, "Pair shards -> JSONL or Parquet preference pairs.")


def main() -> None:
    """Exports one split and prints a summary."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.data.interchange import export_pairs
    from codepmp_jax.files.hub import Repository

    repository = Repository(config.push_to_hub, "dataset") if config.push_to_hub else None
    num_pairs = export_pairs(config)
    print(f"{num_pairs} pairs of {config.input}, split {config.split} -> {config.output}")
    if repository is not None:
        print(f"-> {repository.push(config.output)}")
