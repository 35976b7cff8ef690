"""ReClor (arXiv 2002.04326): passage and question as the prompt, the right option against wrong ones.

Rows and prompts are those of `evaluate problems --task reclor`, so that training and evaluation ask alike.
"""

from codepmp_jax.rm_data.choices import choices_of
from codepmp_jax.rm_data.entries import Source

SOURCE = Source(
    open=lambda config: choices_of(
        "reclor", ("context", "question", "answers", "label", "id_string")
    ),
    hub="tasksource/reclor",
)
