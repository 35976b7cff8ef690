"""The running interpreter's standard library, without its tests.

    python launch/corpus.py --config corpus_stdlib

Hardware: one CPU core, a few seconds.
"""

from codepmp_jax.config import CorpusConfig


def get_config() -> CorpusConfig:
    """Python's own library: there on every machine, in its authors' style."""
    return CorpusConfig()
