"""The README.md of a Hugging Face folder: the model, the format of its texts, how to use it, its metrics."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from huggingface_hub import ModelCardData

from codepmp_jax.config import ConvertConfig, TrainConfig, presets
from codepmp_jax.conversion.load import hub_name
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import read_steps

_SHOWN = (
    "loss",
    "pair_loss",
    "lm_loss",
    "accuracy",
    "eval_pair_loss",
    "eval_lm_loss",
    "eval_lm_perplexity",
    "eval_accuracy",
)
_BEST = "eval_accuracy"


def _rows(run: str, step: int) -> list[dict[str, Any]]:
    """The run's metrics up to a step; empty if the run has no metrics.jsonl."""
    path = storage.to_path(run) / "metrics.jsonl"
    if not path.is_file():
        return []
    return [row for row in read_steps(path)[0] if row["step"] <= step]


def base_model(source: str | None) -> str | None:
    """The hub name from which the chain of model.init_from started; None if unknown.

    Runs and folders in between are followed by their saved configs.
    """
    seen = set()
    while source is not None and source not in seen:
        seen.add(source)
        if (name := hub_name(source)) is not None:
            return name
        path = storage.to_path(source)
        if not path.is_dir():
            return source if source.count("/") == 1 and not source.startswith("/") else None
        source = None
        for name, keys in (("codepmp_jax.json", ("config", "model")), ("config.json", ("model",))):
            if (path / name).is_file():
                value = json.loads((path / name).read_text(encoding="utf-8"))
                for key in keys:
                    value = value.get(key, {})
                source = value.get("init_from")
                break
    return None


def _metrics(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "The run left no metrics.\n"
    last = {name: row[name] for row in rows for name in _SHOWN if row.get(name) is not None}
    best = max((row for row in rows if _BEST in row), key=lambda row: row[_BEST], default=None)
    lines = ["| metric | last |", "|---|---|"]
    lines += [f"| {name} | {last[name]:.4f} |" for name in _SHOWN if name in last]
    text = "\n".join(lines) + "\n"
    if best is not None:
        text += f"\nBest {_BEST}: {best[_BEST]:.4f} at step {best['step']}.\n"
    return text


_SCORE = """\
```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "PATH_OR_NAME"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
messages = [
    {"role": "user", "content": "Add two numbers."},
    {"role": "assistant", "content": "def add(a, b):\\n    return a + b\\n"},
]
batch = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
with torch.inference_mode():
    reward = model(**batch).logits[0, 0].item()
```

The reward is the score head on the last token's hidden state, without an activation; only differences of
rewards of the same prompt mean something. `AutoModelForCausalLM` opens the same folder as a language model.
"""
_SCORE_BY_PEFT = """\
```python
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

folder = "PATH_OR_NAME"
tokenizer = AutoTokenizer.from_pretrained(folder)
# One label: the base model's own config may not say so, and its default of two does not fit the score head.
model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
model.config.pad_token_id = tokenizer.pad_token_id
messages = [
    {"role": "user", "content": "Add two numbers."},
    {"role": "assistant", "content": "def add(a, b):\\n    return a + b\\n"},
]
batch = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
with torch.inference_mode():
    reward = model(**batch).logits[0, 0].item()
```

The reward is the score head on the last token's hidden state, without an activation; only differences of
rewards of the same prompt mean something. The score head is part of the adapter (`modules_to_save`).
`model.merge_and_unload()` gives the model without adapters, score head included.
"""
_GENERATE_BY_PEFT = """\
```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

folder = "PATH_OR_NAME"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoPeftModelForCausalLM.from_pretrained(folder)
messages = [{"role": "user", "content": "Add two numbers."}]
batch = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**batch)[0]))
```
"""
_COMPLETE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "PATH_OR_NAME"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()
batch = tokenizer("def add(a, b):", return_tensors="pt")
print(tokenizer.decode(model.generate(**batch, max_new_tokens=64)[0]))
```

The model gives no rewards. `codepmp train --model.init-from PATH` starts preference model pretraining from it.
"""
_GENERATE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "PATH_OR_NAME"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()
messages = [{"role": "user", "content": "Add two numbers."}]
batch = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**batch)[0]))
```
"""


def _texts(config: TrainConfig, form: str) -> str:
    data = config.data
    if form == "document":
        text = "A text is a document as it is, without a prompt or a chat template."
    elif form == "conversation":
        text = "A text is a conversation as the tokenizer's chat template writes it."
    else:
        text = (
            "A text is, as a string of Python:\n\n"
            f"    {data.template!r}\n\n"
            "The tokenizer's chat template writes it of a user's and an assistant's message."
        )
    end = "The EOS token ends a text. " if data.append_eos else ""
    return f"{text} {end}Training took texts of at most {data.max_length} tokens.\n"


def _lora(config: TrainConfig, adapts: str | None) -> str:
    if not config.lora.is_on:
        return ""
    head = " and, in full, the score head" if config.loss.trains_rewards else ""
    where = (
        "The adapters are merged into the weights."
        if adapts is None
        else f"The folder holds what was trained; the rest is {adapts}."
    )
    return f"\nTrained were {config.lora.summary}{head}; the rest of the model was frozen. {where}"


def write(
    convert: ConvertConfig,
    config: TrainConfig,
    step: int,
    form: str,
    with_score: bool,
    adapts: str | None = None,
) -> str:
    """The card of a run's checkpoint; `form` is `text`, `conversation` or `document`, what its texts are. `adapts` is the
    model under an adapter, None of a whole model."""
    base = base_model(config.model.init_from)
    header = ModelCardData(
        library_name="transformers" if adapts is None else "peft",
        pipeline_tag="text-classification" if with_score else "text-generation",
        tags=["reward-model", "codepmp"] if with_score else ["codepmp"],
        base_model=base,
    )
    kind = "reward model with its LM head" if with_score else "language model"
    use = _SCORE if with_score else _COMPLETE if form == "document" else _GENERATE
    if adapts is not None:
        kind = "adapter (PEFT) of a reward model" if with_score else "adapter (PEFT)"
        use = _SCORE_BY_PEFT if with_score else _GENERATE_BY_PEFT
    model = config.model
    started = f"from {base}" if base else "from random parameters"
    if base is None and model.init_from is not None:
        started = "from another checkpoint"
    settings = json.dumps(presets.to_json(config), indent=2, ensure_ascii=False)
    return f"""\
---
{header.to_yaml()}
---

# {pathlib.Path(convert.run).resolve().name}, step {step}

A {model.family} {kind} in {convert.dtype}, trained {started} with codepmp_jax: {config.loss.method},
{config.loss.summary}.{_lora(config, adapts)}

## Texts

{_texts(config, form)}
## Use

{use}
## Metrics

{_metrics(_rows(convert.run, step))}
## Config

```json
{settings}
```
"""
