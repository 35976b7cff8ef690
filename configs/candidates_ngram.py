"""Best-of-N candidates by the embedded n-gram writer: no model, no download.

    python launch/candidates.py --config candidates_ngram

Hardware: one CPU core, 20 seconds. The corpus of `corpus_stdlib` gives 200 problems.
"""

from codepmp_jax.config import CandidatesConfig


def get_config() -> CandidatesConfig:
    """200 problems of 16 candidates, for Best-of-N up to 16."""
    return CandidatesConfig(max_problems=200)
