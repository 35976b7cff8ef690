"""Log-probs of pairs under a model, computed once and read by training (records/log_probs.py).

Enters: what computes them; what reads them is in `data` and `records`.
"""
