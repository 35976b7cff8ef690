"""40k pairs of right and wrong solutions to GSM8K and MATH from MathShepherd, the paper's largest finetuning set.

    codepmp rm-data --config rm_data_mathshepherd --decontamination.files gsm8k_test.jsonl math500.jsonl

Streams peiyi9979/Math-Shepherd (445k rows, 0.8 GB) from the Hugging Face hub; `--input FILE` reads it from a disk. Rows
whose marks do not fit their text are set aside and counted. Give the test sets that you evaluate on: they are on no disk
by themselves. Hardware: one CPU core and 1 GB of memory, 2 GB of disk.
"""

from codepmp_jax.config import RmDataConfig


def get_config() -> RmDataConfig:
    """40,000 train pairs, each solution in one pair at most, and 2,000 of other problems held out."""
    return RmDataConfig(
        source="mathshepherd",
        output="runs/rm_data/mathshepherd",
        pairing="random",
        max_pairs=40_000,
        max_heldout_pairs=2_000,
        skip_bad=True,
    )
