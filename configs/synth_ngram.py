"""Pairs by the embedded n-gram writer: no model, no download.

    python launch/synthesize.py --config synth_ngram

Hardware: one CPU core, about a minute. The corpus of `corpus_stdlib` (Python 3.11.7) gives 8165 train
and 1165 heldout pairs, in all of which both responses are of the same length, in characters and in
tokens of the embedded tokenizer: "the longer one wins" reaches 50.0 %.
"""

from codepmp_jax.config import SynthesisConfig


def get_config() -> SynthesisConfig:
    """Five error rates from 0.1 to 1.0, so that pairs range from hard to easy."""
    return SynthesisConfig()
