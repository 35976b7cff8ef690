"""Scores of a reward model -> pairwise accuracy and Best-of-N.

Enters: the steps from problems to figures.
"""
