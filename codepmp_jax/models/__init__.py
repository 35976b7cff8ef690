"""Flax NNX models: a decoder with an LM head and a score head.

Enters: forward passes and their kernels; no losses, and no family by name.
"""
