"""What lies on disk between stages: record types, shards and their manifest.

Enters: formats that two stages share.
"""
