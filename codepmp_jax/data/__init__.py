"""Preference pairs -> batches: import and export, tokenized pairs, row layouts, the Grain loader.

Enters: whatever imports Grain.
"""
