"""Pairs by the embedded n-gram writer: no model, no download.

    python launch/synthesize.py --config synth_ngram

Hardware: one CPU core, about a minute.
"""

from codepmp_jax.config import SynthesisConfig


def get_config() -> SynthesisConfig:
    """Five error rates from 0.1 to 1.0, so that pairs range from hard to easy."""
    return SynthesisConfig()
