"""Benchmarks: how the rows of each become problems."""
