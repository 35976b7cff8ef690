"""Rewards of texts by PyTorch or JAX behind one `Scorer`.

Enters: what runs a model.
"""
