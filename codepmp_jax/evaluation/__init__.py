"""Scores of a converted reward model -> pairwise accuracy and Best-of-N, with plots."""
