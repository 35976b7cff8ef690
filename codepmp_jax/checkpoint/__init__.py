"""Orbax checkpoints: saving, verifying, restoring, retention.

Enters: whatever imports Orbax or TensorStore.
"""
