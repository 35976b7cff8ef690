"""Tokenizer, languages, near-duplicates, decontamination, lengths.

Enters: what two stages ask of a text.
"""
