"""Chips, meshes, hosts and memory.

Enters: what knows devices but no model.
"""
