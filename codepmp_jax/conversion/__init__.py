"""Hugging Face folders to parameters and back, by one weight table per family.

Enters: what knows both formats.
"""
