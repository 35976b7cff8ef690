"""Writers of unequal skill -> preference pairs and Best-of-N candidates.

Enters: passes, gates, engines; writers have a package of their own.
"""
