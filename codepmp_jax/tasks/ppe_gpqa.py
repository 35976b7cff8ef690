"""PPE's Best-of-K of GPQA (arXiv 2410.14872)."""

from codepmp_jax.tasks.common.ppe import best_of_k

TASK = best_of_k("ppe_gpqa", "lmarena-ai/PPE-GPQA-Best-of-K")
