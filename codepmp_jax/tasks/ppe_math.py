"""PPE's Best-of-K of MATH (arXiv 2410.14872)."""

from codepmp_jax.tasks.common.ppe import best_of_k

TASK = best_of_k("ppe_math", "lmarena-ai/PPE-MATH-Best-of-K")
