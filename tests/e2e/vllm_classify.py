"""vLLM's pooling runner on a converted folder.

    python vllm_classify.py FOLDER TOKENS_FOLDER TEXTS.json

Prints a line of JSON, as vLLM gives it with its defaults: the scores of the texts by FOLDER, a reward model, and of each
of their tokens by TOKENS_FOLDER, a token classifier.
"""

from __future__ import annotations

import json
import pathlib
import sys

from vllm import LLM  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Classifies, prints."""
    folder, tokens_folder, path = sys.argv[1:]
    texts = json.loads(pathlib.Path(path).read_text())
    scores = [
        output.outputs.probs[0] for output in model_of(folder).classify(texts, use_tqdm=False)
    ]
    outputs = model_of(tokens_folder).encode(texts, pooling_task="token_classify", use_tqdm=False)
    tokens = [output.outputs.data.flatten().tolist() for output in outputs]
    print(json.dumps({"scores": scores, "tokens": tokens}))


def model_of(folder: str) -> LLM:
    """The model in a folder."""
    return LLM(folder, runner="pooling", dtype="float32", max_model_len=512, enforce_eager=True)


if __name__ == "__main__":
    main()
