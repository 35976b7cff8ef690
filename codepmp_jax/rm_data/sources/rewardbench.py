"""RewardBench (arXiv 2403.13787): `prompt`, `chosen`, `rejected`, and `subset`, its category.

Its prompts are an evaluation set: `--heldout-fraction 1` makes a held-out split of all of it.
"""

from codepmp_jax.rm_data.entries import Source
from codepmp_jax.rm_data.sources.pairs import SOURCE as PAIRS

SOURCE = Source(open=PAIRS.open, hub="allenai/reward-bench", split="filtered")
