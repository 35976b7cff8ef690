"""Language modelling of plain code documents by a model of Qwen2-1.5B's dimensions, from random weights.

    python launch/tpu_pod.py --config lm_1b5 --workdir WORKDIR --data.input CORPUS

The control that the paper (arXiv 2410.02229) lacks, and a base model where none can be downloaded: CORPUS is the output
of `codepmp corpus`, or a folder of pairs, whose texts then are the documents. A run of PMP starts from it by
`--config pmp_1b5 --model.init-from WORKDIR`. To go on from a base model instead of random weights, add `--model.init-from
Qwen/Qwen2-1.5B --optimizer.learning-rate 3e-6`. The tokenizer is Qwen2's; where the hub cannot be reached, give one of
your own (`codepmp train-tokenizer`) by `--data.tokenizer FOLDER --model.vocab-size SIZE`.

Rows and steps are those of pmp_1b5: 256 rows of 2560 tokens, some 650 000 labels a step. Hardware: any TPU slice that
passes `python launch/compile_check.py --config lm_1b5 --topology NAME`, of at most 256 chips as it stands; on fewer,
raise `accumulation_steps`, and on more, `global_batch_rows`.
"""

import dataclasses

from codepmp_jax.config import LmConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """pmp_1b5's model, from random weights, on packed documents; rates as usual for this size."""
    base = presets.load_preset("pmp_1b5")
    return dataclasses.replace(
        base,
        workdir="runs/lm_1b5",
        model=dataclasses.replace(base.model, init_from=None),
        data=dataclasses.replace(
            base.data,
            input="runs/corpus",
            layout="packed",
            length_policy="split",
            append_eos=True,
        ),
        loss=LmConfig(),
        optimizer=dataclasses.replace(
            base.optimizer, learning_rate=3e-4, warmup_fraction=0.01, beta2=0.95
        ),
        checkpoint=dataclasses.replace(
            base.checkpoint, best_metric="eval_lm_loss", best_is="lowest"
        ),
    )
