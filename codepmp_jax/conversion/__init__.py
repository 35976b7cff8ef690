"""Hugging Face folders to parameters and back, by the weight table of each family.

Enters: code that reads or writes Hugging Face's files.
"""
