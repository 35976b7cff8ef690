"""The training step and the run around it: objectives, optimizer, state, loop, telemetry.

Enters: what only training needs.
"""
