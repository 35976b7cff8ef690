"""SourceFile shards -> PreferencePair shards: `codepmp synthesize --config synth_ngram`."""

from codepmp_jax.config import SynthesisConfig, presets

COMMAND = (SynthesisConfig, "Writes preference pairs from a corpus.")


def main() -> None:
    """Parses, synthesizes, sums up."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.cli import streams
    from codepmp_jax.files import notes
    from codepmp_jax.synthesis.pairs import synthesize

    streams.keep_notes(lambda line: notes.add(config.output, line))

    report = synthesize(config)
    if report is None:
        print(f"worker {config.worker}: its shards are done, others are not yet -> {config.output}")
        return
    heldout = report["heldout"]["lengths"].get("all")
    baseline = (
        f'"longer wins" reaches {heldout["characters"]["longer_wins"]:.1%} by characters and '
        f"{heldout['tokens']['longer_wins']:.1%} by tokens of the held-out pairs"
        if heldout
        else "no held-out pairs"
    )
    dropped = sum(sum(report[split]["dropped"].values()) for split in ("train", "heldout"))
    print(
        f"{report['train']['pairs']} train and {report['heldout']['pairs']} heldout pairs, "
        f"{dropped} sources dropped; {baseline} -> {config.output}"
    )
