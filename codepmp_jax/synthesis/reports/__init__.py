"""What synthesis reports: counts, status and an HTML page.

Enters: what reads shards and writes for people.
"""
