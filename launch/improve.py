"""A policy that learns from its own judged programs, round after round.

    python launch/improve.py --model FOLDER --problems FILE --heldout FILE --training dpo_code_7b --rounds 3

The same as `codepmp improve`: see codepmp_jax/commands/improve.py.
"""

from codepmp_jax.commands import improve
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(improve.main)
