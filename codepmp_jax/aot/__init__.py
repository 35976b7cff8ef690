"""The training step compiled for a TPU slice that is absent: memory, time, search.

Enters: what reads the compiler's output.
"""
