"""What a task is, its registry, and what several tasks share.

Enters: what two tasks need.
"""
