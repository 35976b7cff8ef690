"""Source code -> functions and classes -> filters -> deduplication -> SourceFile shards.

Enters: what only the corpus stage needs.
"""
