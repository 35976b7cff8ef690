"""What the conversion of a large model costs: peak memory and seconds, in both directions.

    python benchmarks/conversion_memory.py --preset pmp_7b --output runs/conversion_memory

Makes a run with the shape of a preset and random weights, converts it to a Hugging Face folder in float32 and in
bfloat16, and the latter back to a run; each by `launch/convert.py` as a process of its own, after which a sample of
the weights is compared. Nothing is ever whole in memory, the benchmark included. Of a model of 7.6 billion
parameters it needs 65 GB of disk, and leaves nothing behind. Prints a table and one line of JSON, and writes both to
`benchmarks/results/conversion_memory.md`, the JSON to `conversion_memory.json` too.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from typing import Any

import jax
import ml_dtypes
import numpy as np
from corpus_scale import Memory
from page import RESULTS, ROOT, Page

from codepmp_jax.checkpoint import param_store
from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CheckpointConfig, TrainConfig, presets
from codepmp_jax.files.json_files import write_json
from codepmp_jax.models.preference import Params, abstract_params
from codepmp_jax.text.tokenization import Tokenizer

_SAMPLE_SECONDS = 0.2
_COMPARED = 4096


def make_run(preset: str, run: pathlib.Path) -> Params:
    """Writes a run with random weights as checkpoint 1; the shapes of its parameters."""
    config: TrainConfig = presets.load_preset(preset)
    model = dataclasses.replace(config.model, init_from=None)
    data = dataclasses.replace(config.data, tokenizer="embedded", input="nowhere")
    config = dataclasses.replace(config, model=model, data=data, workdir=str(run))
    _, shapes, _ = abstract_params(model)
    rng = np.random.default_rng(0)
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    with progress(total=total, desc="make the run", unit="param", unit_scale=True) as bar:

        def draw(index: param_store.Index) -> np.ndarray:
            size = [part.stop - part.start for part in index]
            bar.update(int(np.prod(size)))
            return 0.02 * rng.standard_normal(size, np.float32)

        pieces = jax.tree.map(lambda leaf: param_store.Pieces(leaf.shape, draw), shapes)
        checkpointer = Checkpointer(str(run), CheckpointConfig())
        checkpointer.save(1, pieces, None, [], presets.to_json(config))
        checkpointer.close()
    write_json(run / "config.json", presets.to_json(config))
    Tokenizer.load("embedded").save(run / "tokenizer")
    return shapes


def measure(*arguments: str) -> dict[str, Any]:
    """Seconds and peak resident bytes of launch/convert.py."""
    command = [sys.executable, "launch/convert.py", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    memory = Memory()
    while process.poll() is None:
        memory.sample(process.pid)
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)}: status {process.returncode}")
    return {
        "seconds": round(time.monotonic() - started, 1),
        "peak_bytes": memory.peaks[process.pid],
    }


def sample(run: pathlib.Path, step: int, shapes: Params) -> list[np.ndarray]:
    """The last numbers of every parameter of a checkpoint."""
    params = Checkpointer(str(run)).open_params(shapes, step)
    return [
        leaf[
            (
                *(size - 1 for size in leaf.shape[:-1]),
                slice(max(0, leaf.shape[-1] - _COMPARED), None),
            )
        ]
        for leaf in jax.tree.leaves(params)
    ]


def folder_bytes(folder: pathlib.Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a row a conversion."""
    lines = ["| conversion | peak memory | seconds | written |", "|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['conversion']} | {row['peak_bytes'] / 2**30:.2f} GiB | {row['seconds']:.0f} "
            f"| {row['written_bytes'] / 1e9:.1f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Makes the run, converts it there and back, prints and writes the table."""
    parser = argparse.ArgumentParser(description="Measures the conversion of a large model.")
    parser.add_argument("--preset", default="pmp_7b", help="whose shape the model has")
    parser.add_argument("--output", default="runs/conversion_memory", help="folder of the runs")
    arguments = parser.parse_args()
    page = Page("conversion_memory", "Memory and time of the conversion of a large model")
    at = pathlib.Path(arguments.output).resolve()
    shutil.rmtree(at, ignore_errors=True)
    run, folder, back = at / "run", at / "folder", at / "back"
    rows = []

    def convert(name: str, written: pathlib.Path, *options: str) -> None:
        shutil.rmtree(written, ignore_errors=True)
        figures = measure(*options)
        rows.append({"conversion": name, **figures, "written_bytes": folder_bytes(written)})
        print(table(rows), flush=True)

    try:
        shapes = make_run(arguments.preset, run)
        num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        largest = max(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
        to_hf = ("to-hf", "--run", str(run), "--output", str(folder), "--dtype")
        for dtype in ("float32", "bfloat16"):
            convert(f"run -> folder, {dtype}", folder, *to_hf, dtype)
        expected = [part.astype(ml_dtypes.bfloat16) for part in sample(run, 1, shapes)]
        shutil.rmtree(run)
        convert(
            "folder, bfloat16 -> run",
            back,
            "from-hf",
            "--input",
            str(folder),
            "--output",
            str(back),
        )
        for ours, theirs in zip(expected, sample(back, 0, shapes), strict=True):
            np.testing.assert_array_equal(ours.astype(np.float32), theirs)
    finally:
        shutil.rmtree(at, ignore_errors=True)
    note = (
        f"{num_params:,} parameters in the shape of {arguments.preset}, random; the largest array is "
        f"{largest / 1e9:.1f} GB in float32. Memory is the highest resident memory of the process. Seconds hold "
        "the start of the process, and the disk; runs are float32, and compressed by Orbax's default."
    )
    figures = {"preset": arguments.preset, "num_params": num_params, "rows": rows}
    print(page.write(note, table(rows), **figures))
    write_json(RESULTS / "conversion_memory.json", figures)


if __name__ == "__main__":
    main()
