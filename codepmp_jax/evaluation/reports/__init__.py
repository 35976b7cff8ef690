"""Tables, plots and pages of results.

Enters: what writes for people.
"""
