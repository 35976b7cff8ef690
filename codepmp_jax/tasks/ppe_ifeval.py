"""PPE's Best-of-K of IFEval (arXiv 2410.14872)."""

from codepmp_jax.tasks.common.ppe import best_of_k

TASK = best_of_k("ppe_ifeval", "lmarena-ai/PPE-IFEval-Best-of-K")
