"""Judges: whether a response solves its problem. They run in processes of their own.

Enters: no jax, no torch.
"""
