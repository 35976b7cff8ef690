"""What the corpus pipeline costs as the input grows: MB/s, files/s, peak memory.

    python benchmarks/corpus_scale.py --sizes 10000 100000 1000000 --output runs/corpus_scale

The files are synthetic: functions of the standard library put together anew and renamed, one in ten a near-duplicate
of an earlier file (a changed name, a line more) and one in fifty a copy in another layout. They lie in Parquet
tables of 50 000 rows; those of the smallest size also in JSONL (zstd) and in a folder, a file each. The pipeline is
`launch/corpus.py --config corpus_files`, every filter on. Prints a table and one line of JSON, and writes
both to `benchmarks/results/corpus_scale.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import random
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from page import ROOT, Page

from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.build import build_corpus
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import ShardedDataset

_ROWS_PER_TABLE = 50_000
_SAMPLE_SECONDS = 0.5


def functions(folder: pathlib.Path) -> list[str]:
    """Functions of the standard library."""
    build_corpus(CorpusConfig(output=str(folder)))
    return [source.content for source in ShardedDataset(folder, SourceFile, "train")]


def synthetic_files(pieces: list[str], number: int, seed: int = 0) -> Iterator[str]:
    """Python files of 1 to 4 functions, with near-duplicates and copies of the last thousand mixed in."""
    rng = random.Random(seed)
    recent: list[str] = []
    for i in range(number):
        chance = rng.random()
        if recent and chance < 0.1:
            text = rng.choice(recent).replace("self", "this", 1) + f"\nLAST_{i} = {i}\n"
        elif recent and chance < 0.12:
            text = rng.choice(recent).replace("\n\n", "\n\n\n")
        else:
            chosen = rng.choices(pieces, k=rng.randint(1, 4))
            # Words of its own, as the files of another author have.
            names = {
                word: f"{word}_{rng.randrange(10**6)}" for word in ("self", "name", "value", "key")
            }
            text = f"import os\n\nNUMBER_{i} = {rng.random()}\n\n\n" + "\n\n\n".join(chosen) + "\n"
            for word, name in names.items():
                text = text.replace(f"{word}.", f"{name}.").replace(f"{word})", f"{name})")
            recent.append(text)
            recent = recent[-1000:]
        yield text


def write_input(texts: Iterator[str], number: int, form: str, folder: pathlib.Path) -> int:
    """Writes the files as `parquet`, `jsonl` or `folder`; their bytes."""
    num_bytes = 0
    rows: list[dict[str, Any]] = []
    for i, text in enumerate(progress(texts, total=number, desc=f"make {form}", unit="file")):
        num_bytes += len(text.encode())
        path = f"src/d{i // 100 % 100}/m{i}.py"
        if form == "folder":
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            continue
        rows.append(
            {
                "content": text,
                "lang": "Python",
                "max_stars_repo_name": f"owner{i % 977}/project{i % 7919}",
                "max_stars_repo_path": path,
                "max_stars_repo_licenses": ["MIT"],
                "max_stars_count": i % 100,
            }
        )
        if len(rows) == _ROWS_PER_TABLE or i == number - 1:
            folder.mkdir(parents=True, exist_ok=True)
            name = folder / f"data-{i // _ROWS_PER_TABLE:05d}"
            if form == "parquet":
                pq.write_table(pa.Table.from_pylist(rows), f"{name}.parquet", row_group_size=1000)
            else:
                with pa.CompressedOutputStream(f"{name}.jsonl.zst", "zstd") as stream:
                    stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            rows = []
    return num_bytes


@dataclasses.dataclass
class Memory:
    """Resident memory of a process and its children, in bytes."""

    peaks: dict[int, int] = dataclasses.field(default_factory=dict)
    """Process -> its highest mark."""
    peak_sum: int = 0
    """Highest sum over the processes at a time; pages that they share count for each."""

    def sample(self, root: int) -> None:
        """Reads /proc."""
        total = 0
        for process in [root, *_children(root)]:
            try:
                status = pathlib.Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue
            values = dict(
                line.split(":", 1) for line in status.splitlines() if line.startswith("Vm")
            )
            if values:
                self.peaks[process] = int(values["VmHWM"].split()[0]) * 1024
                total += int(values["VmRSS"].split()[0]) * 1024
        self.peak_sum = max(self.peak_sum, total)


def _children(root: int) -> list[int]:
    try:
        found = pathlib.Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in found] + [c for child in found for c in _children(int(child))]


def _processor_seconds() -> float:
    """Of the children that have ended, and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(source: pathlib.Path, output: pathlib.Path, num_workers: int) -> dict[str, Any]:
    """Runs the pipeline as a process of its own."""
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable,
        "launch/corpus.py",
        "--config",
        "corpus_files",
        "--input",
        str(source),
        "--output",
        str(output),
        "--num-workers",
        str(num_workers),
    ]
    before = _processor_seconds()
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    memory = Memory()
    while process.poll() is None:
        memory.sample(process.pid)
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)}: status {process.returncode}")
    report = json.loads((output / "report.json").read_text())
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(_processor_seconds() - before, 1),
        "kept": report["texts"]["kept"],
        "dropped": report["files"]["dropped"] | report["texts"]["dropped"],
        "main_process_bytes": memory.peaks[process.pid],
        "largest_process_bytes": max(memory.peaks.values()),
        "all_processes_bytes": memory.peak_sum,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a row a run."""
    lines = [
        "| files | form | MB | kept | seconds | files/s | MB/s | processor ms a file | main process, MB | "
        "largest process, MB | all processes, MB |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        megabytes, seconds = row["num_bytes"] / 1e6, row["seconds"]
        cells = [
            f"{row['files']:,}",
            row["form"],
            f"{megabytes:.0f}",
            f"{row['kept']:,}",
            f"{seconds:.0f}",
            f"{row['files'] / seconds:.0f}",
            f"{megabytes / seconds:.2f}",
            f"{row['processor_seconds'] / row['files'] * 1000:.2f}",
            *(
                f"{row[name] / 1e6:.0f}"
                for name in ("main_process_bytes", "largest_process_bytes", "all_processes_bytes")
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Makes the inputs, runs the pipeline on each, prints and writes the table."""
    parser = argparse.ArgumentParser(description="Measures the corpus pipeline over input sizes.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--output", default="runs/corpus_scale", help="folder of the runs")
    arguments = parser.parse_args()
    page = Page("corpus_scale", "The corpus pipeline over input sizes")
    note = (
        f"{arguments.num_workers} processes for stage 1. Preset corpus_files. Seconds hold the start of the "
        "processes, and the wait for processors where others use them; processor time does not. Memory: the "
        "highest resident memory of the main process, of any process, and of the sum of all at a time."
    )
    text = ""
    at = pathlib.Path(arguments.output).resolve()
    pieces = functions(at / "functions")
    rows = []
    for size in arguments.sizes:
        forms = ["parquet", "jsonl", "folder"] if size == min(arguments.sizes) else ["parquet"]
        for form in forms:
            source = at / f"input-{size}-{form}"
            shutil.rmtree(source, ignore_errors=True)
            num_bytes = write_input(synthetic_files(pieces, size), size, form, source)
            figures = measure(source, at / "corpus", arguments.num_workers)
            shutil.rmtree(source)
            rows.append(
                {"files": size, "form": form, "num_bytes": num_bytes}
                | {"num_workers": arguments.num_workers}
                | figures
            )
            text = page.write(note, table(rows), rows=rows)
            print(table(rows), flush=True)
    print(text)


if __name__ == "__main__":
    main()
