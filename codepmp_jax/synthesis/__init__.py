"""Writers of unequal skill -> preference pairs and Best-of-N candidates."""
