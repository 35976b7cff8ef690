"""Judges: whether a response solves its problem. `codepmp_jax.evaluation.judges` runs them in processes of their own.

Enters: judges that two tasks share; no jax, no torch.
"""
