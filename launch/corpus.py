"""Source code -> SourceFile shards: `python launch/corpus.py --config corpus_stdlib`."""

from codepmp_jax import presets
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.build import build_corpus


def main() -> None:
    """Parses, builds, sums up."""
    config = presets.parse(CorpusConfig, "Collects functions and classes from source files.")
    report = build_corpus(config)
    files, snippets, splits = report["files"], report["snippets"], report["splits"]
    print(
        f"{snippets['kept']} snippets of {snippets['found']} found in {files['found']} files "
        f"({sum(files['dropped'].values())} files dropped): {splits['train']['snippets']} train, "
        f"{splits['heldout']['snippets']} heldout -> {config.output}"
    )


if __name__ == "__main__":
    presets.run(main)
