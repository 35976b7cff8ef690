"""Benchmarks, one file each: rows, template, candidates.

Enters: what only one benchmark needs, and what tasks share.
"""
