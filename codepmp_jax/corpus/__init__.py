"""Source code -> functions and classes -> filters -> dedup -> SourceFile shards."""
