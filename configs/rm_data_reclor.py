"""ReClor: passage and question as the prompt, the right option against a random wrong one.

    codepmp rm-data --config rm_data_reclor

Reads tasksource/reclor from the Hugging Face hub: 4,638 train problems, 500 validation problems as the held-out split. Of
the authors' files: `--input train.json --heldout-input val.json --heldout-split None`. `--pairing all` sets the right
option against each wrong one, three times as many pairs. Hardware: one CPU core.
"""

from codepmp_jax.config import RmDataConfig


def get_config() -> RmDataConfig:
    """One pair a problem; the validation problems, on which options are chosen too, are held out."""
    return RmDataConfig(
        source="reclor",
        output="runs/rm_data/reclor",
        pairing="random",
        heldout_split="validation",
    )
