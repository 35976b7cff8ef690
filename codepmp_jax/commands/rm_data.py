"""Preference data of others -> pair shards for RM finetuning: `codepmp rm-data --config rm_data_mathshepherd`."""

from codepmp_jax.config import RmDataConfig, presets

COMMAND = (RmDataConfig, "Reasoning preferences -> pair shards, split by problem.")


def main() -> None:
    """Builds the splits and prints a summary."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.rm_data.build import build

    report = build(config)
    for split, found in report["splits"].items():
        print(
            f"{split}: {found['pairs']} pairs of {found['problems']} problems; the longer answer is chosen in "
            f"{found['longer_is_chosen']:.1%}; {found['nearly_equal']:.1%} are nearly equal"
        )
        limit = {"train": config.max_pairs, "heldout": config.max_heldout_pairs}[split]
        if limit is not None and found["pairs"] < limit:
            print(f"{split}: fewer than the {limit} pairs asked for: there are no more")
    for one in report["inputs"]:
        if one.get("files_not_read"):
            print(f"not read of {one['path']}: {', '.join(one['files_not_read'])}")
    for name in ("malformed", "columns_not_read", "remarks"):
        if report[name]:
            print(f"{name.replace('_', ' ')} (rows): {_counts(report[name])}")
    for name, counts in report["dropped"].items():
        if counts:
            print(f"{name} dropped: {_counts(counts)}")
    print(f"{report['rows']} rows, {report['seconds']:.1f} s -> {config.output}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
