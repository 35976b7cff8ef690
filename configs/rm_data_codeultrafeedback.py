"""CodeUltraFeedback, binarised: of the four rated responses to an instruction the best against the worst.

    codepmp rm-data --config rm_data_codeultrafeedback

Streams coseal/CodeUltraFeedback (10,000 instructions) from the Hugging Face hub. Responses without a rating, and
instructions whose responses are all rated alike, are left out and counted. `--min-margin 2` asks for a larger difference of
ratings. Hardware: one CPU core.
"""

from codepmp_jax.config import DecontaminationConfig, RmDataConfig


def get_config() -> RmDataConfig:
    """One pair an instruction, at least one point apart; 5 % of the instructions are held out."""
    return RmDataConfig(
        source="codeultrafeedback",
        output="runs/rm_data/codeultrafeedback",
        pairing="best_worst",
        min_margin=1.0,
        heldout_fraction=0.05,
        decontamination=DecontaminationConfig(human_eval=True),
    )
