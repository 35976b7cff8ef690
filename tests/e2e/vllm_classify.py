"""vLLM's pooling runner on a converted folder.

    python vllm_classify.py FOLDER TEXTS.json [TOKENS_FOLDER]

Prints a line of JSON, as vLLM gives it with its defaults: the scores of the texts by FOLDER, a reward model, and of each
of their tokens by TOKENS_FOLDER, a token classifier, where there is one.
"""

from __future__ import annotations

import json
import pathlib
import sys

from vllm import LLM  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Classifies, prints."""
    folder, path, *tokens_folders = sys.argv[1:]
    texts = json.loads(pathlib.Path(path).read_text())
    scores = [
        output.outputs.probs[0] for output in model_of(folder).classify(texts, use_tqdm=False)
    ]
    tokens = [
        output.outputs.data.flatten().tolist()
        for one in tokens_folders
        for output in model_of(one).encode(texts, pooling_task="token_classify", use_tqdm=False)
    ]
    print(json.dumps({"scores": scores, "tokens": tokens}))


def model_of(folder: str) -> LLM:
    """The model in a folder."""
    return LLM(folder, runner="pooling", dtype="float32", max_model_len=512, enforce_eager=True)


if __name__ == "__main__":
    main()
