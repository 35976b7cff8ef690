"""CodePMP in JAX: preference model pretraining on synthesized code pairs, for TPU pods."""

__version__ = "0.1.0"
