"""Source code -> SourceFile shards: `python launch/corpus.py --config corpus_stdlib`."""

from codepmp_jax.config import CorpusConfig, presets
from codepmp_jax.corpus.build import build_corpus


def main() -> None:
    """Parses, builds, sums up."""
    config = presets.parse(CorpusConfig, "Collects source code: filtered, deduplicated, in shards.")
    report = build_corpus(config)
    files, texts, splits = report["files"], report["texts"], report["splits"]
    print(
        f"{texts['kept']} texts of {texts['found']} found in {files['found']} files "
        f"({sum(files['dropped'].values())} files dropped): {splits['train']['texts']} train, "
        f"{splits['heldout']['texts']} heldout -> {config.output}"
    )


if __name__ == "__main__":
    presets.run(main)
