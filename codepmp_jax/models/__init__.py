"""Flax NNX models: a decoder with an LM head and a score head."""
