"""Preference data of others, and judged candidates -> pair shards for RM finetuning, split by problem.

Enters: what only this stage needs. A source of rows is a module of `sources`.
"""
