"""LogiQA 2.0 (DOI 10.1109/TASLP.2023.3293046): text and question as the prompt, the right option against wrong ones.

Rows and prompts are those of `evaluate problems --task logiqa2`, so that training and evaluation ask alike.
"""

from codepmp_jax.rm_data.choices import choices_of
from codepmp_jax.rm_data.entries import Source

SOURCE = Source(
    open=lambda config: choices_of("logiqa2", ("text", "question", "options", "answer", "id")),
    hub="baber/logiqa2",
    configuration="logiqa2",
)
