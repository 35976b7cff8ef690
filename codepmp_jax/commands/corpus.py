"""Source code -> SourceFile shards: `codepmp corpus --config corpus_stdlib`."""

from codepmp_jax.config import CorpusConfig, presets

COMMAND = (CorpusConfig, "Collects source code: filtered, deduplicated, in shards.")


def main() -> None:
    """Parses, builds, sums up."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.corpus.build import build_corpus

    report = build_corpus(config)
    files, texts, splits = report["files"], report["texts"], report["splits"]
    print(
        f"{texts['kept']} texts of {texts['found']} found in {files['found']} files "
        f"({sum(files['dropped'].values())} files dropped): {splits['train']['texts']} train, "
        f"{splits['heldout']['texts']} heldout -> {config.output}"
    )
    described = report.get("descriptions")
    if described and described["written"] + described["name_only"]:
        print(
            f"{described['name_only_share']:.0%} of the functions and classes are described by name and "
            f"parameters only (--description.min-words drops them); samples: {config.output}/samples.md"
        )
