"""A reward model for RL: a server of its rewards over HTTP, and reward functions for trainers.

Enters: what answers requests for rewards; how rewards are computed stays in `evaluation.scorers`.
"""
