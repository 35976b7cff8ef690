"""PPE's Best-of-K of MBPP-Plus (arXiv 2410.14872)."""

from codepmp_jax.tasks.common.ppe import best_of_k

TASK = best_of_k("ppe_mbpp_plus", "lmarena-ai/PPE-MBPP-Plus-Best-of-K")
