"""Source code -> SourceFile shards.

    python launch/corpus.py --config corpus_stdlib

The same as `codepmp corpus`: see codepmp_jax/commands/corpus.py.
"""

from codepmp_jax.commands import corpus
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(corpus.main)
