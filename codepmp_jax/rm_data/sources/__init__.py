"""Forms of rows, one module each: what a row says of a problem and its answers.

Enters: a module `NAME.py` with its `SOURCE`, and NAME in `SourceName` of the config.
"""
