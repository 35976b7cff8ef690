"""Estimators, votes, calibration, resampling.

Enters: pure functions of arrays.
"""
