"""Log-probs of pairs under a model, which training compares a policy with.

    python launch/logprobs.py --config dpo_7b --model FOLDER|RUN --input PAIRS --output DIR

The same as `codepmp logprobs`: see codepmp_jax/commands/logprobs.py.
"""

from codepmp_jax.commands import logprobs
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(logprobs.main)
