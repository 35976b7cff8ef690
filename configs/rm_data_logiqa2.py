"""LogiQA 2.0: text and question as the prompt, the right option against a random wrong one.

    codepmp rm-data --config rm_data_logiqa2

Reads baber/logiqa2 from the Hugging Face hub: 12,567 train problems, 1,569 validation problems as the held-out split. Of
the authors' files: `--input train.txt --heldout-input dev.txt --heldout-split None`. `--decontamination.files test.txt`
leaves out what the test set holds too. Hardware: one CPU core.
"""

from codepmp_jax.config import RmDataConfig


def get_config() -> RmDataConfig:
    """One pair a problem; rows without a text, a question or options are set aside."""
    return RmDataConfig(
        source="logiqa2",
        output="runs/rm_data/logiqa2",
        pairing="random",
        heldout_split="validation",
        skip_bad=True,
    )
