"""What weights a model has, as one sha256."""

from __future__ import annotations

import hashlib
import json

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.conversion.load import find_folder, is_run
from codepmp_jax.files import storage
from codepmp_jax.files.checksums import CHECKSUMS, sha256_of


def weights_digest(source: str) -> str:
    """Hexadecimal sha256 of the weights in a Hugging Face folder (of its safetensors, by their names and bytes), or of
    the newest checkpoint of a training run (of the checksums of its files, and of the frozen ones of a LoRA run)."""
    digest = hashlib.sha256()
    if not is_run(source):
        for path in sorted(find_folder(source).glob("*.safetensors")):
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
        return digest.hexdigest()
    run = storage.to_path(source)
    step = Checkpointer(source).latest_step()
    for path in (run / "checkpoints" / str(step) / CHECKSUMS, run / "frozen" / CHECKSUMS):
        with storage.storage_errors(path, "read"):
            if path.is_file():
                entries = json.loads(path.read_bytes())
                digest.update(json.dumps(entries, sort_keys=True).encode())
    return digest.hexdigest()
