"""Best-of-N candidates, for the problems of a benchmark or for held-out sources.

    python launch/candidates.py --config candidates_ngram

The same as `codepmp candidates`: see codepmp_jax/commands/candidates.py.
"""

from codepmp_jax.commands import candidates
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(candidates.main)
