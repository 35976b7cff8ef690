"""Benchmarks, one module each: rows, template, judge, passages that must not leak into a corpus.

Enters: a module `NAME.py` with its `TASK`, which makes NAME a task. What tasks share lies in `common` and `judges`.
"""
