"""PPE's Best-of-K of MMLU-Pro (arXiv 2410.14872)."""

from codepmp_jax.tasks.common.ppe import best_of_k

TASK = best_of_k("ppe_mmlu_pro", "lmarena-ai/PPE-MMLU-Pro-Best-of-K")
