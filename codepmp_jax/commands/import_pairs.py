"""Preference pairs in JSONL or Parquet -> pair shards: `codepmp import-pairs --input FILE --output PAIRS`."""

from codepmp_jax.config import ImportConfig, presets

COMMAND = (ImportConfig, "JSONL or Parquet preference pairs -> pair shards.")


def main() -> None:
    """Imports one split and prints a summary."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.data.interchange import import_pairs, remarks

    report = import_pairs(config)
    rejected = sum(report["rejected"].values())
    print(
        f"{report['pairs']} pairs of {len(report['files'])} file(s) -> {config.output}, split "
        f"{config.split}, {report['shards']} shard(s), {rejected} malformed row(s) set aside, "
        f"{report['seconds']:.1f} s"
    )
    for line in remarks(report):
        print(line)
