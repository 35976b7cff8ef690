"""Settings with which TRL's losses are compared."""

BETA, SMOOTHING, GAMMA, SFT = 0.3, 0.1, 0.5, 0.5
LOSSES = ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "apo_down")
# Of TRL's trainers without a reference (CPO and ORPO).
REFERENCE_FREE = ("simpo", "orpo")
