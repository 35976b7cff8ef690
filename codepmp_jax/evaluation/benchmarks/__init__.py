"""Benchmarks of reward models: the rule by which the authors of each one compute its figures.

Enters: one module a benchmark, and the command that applies its rule.
"""
