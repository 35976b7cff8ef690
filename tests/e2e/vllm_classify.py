"""vLLM's pooling runner on a converted folder.

    python vllm_classify.py FOLDER TEXTS.json

Prints one line of JSON: the scores of the texts, as vLLM gives them with its defaults.
"""

from __future__ import annotations

import json
import pathlib
import sys

from vllm import LLM  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Classifies, prints."""
    folder, texts = sys.argv[1:]
    model = LLM(folder, runner="pooling", dtype="float32", max_model_len=512, enforce_eager=True)
    outputs = model.classify(json.loads(pathlib.Path(texts).read_text()), use_tqdm=False)
    print(json.dumps([output.outputs.probs[0] for output in outputs]))


if __name__ == "__main__":
    main()
