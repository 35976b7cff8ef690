"""SourceFile shards -> PreferencePair shards.

    python launch/synthesize.py --config synth_ngram --input CORPUS --output PAIRS

The same as `codepmp synthesize`: see codepmp_jax/commands/synthesize.py.
"""

from codepmp_jax.commands import synthesize
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(synthesize.main)
