"""Experiments: a grid of training runs and evaluations, run to its end, and what comes of it.

Enters: the plan of a grid, what runs it, the statistics over its cells, and what shows them. The work of a cell is
that of other commands, which run as processes of their own.
"""
