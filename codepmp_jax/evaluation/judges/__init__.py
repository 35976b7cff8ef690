"""Processes in which the judges of `codepmp_jax.tasks` run.

Enters: no jax, no torch.
"""
