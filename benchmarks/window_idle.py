"""How long the devices have nothing to do at the end of each window of the log, against another version of the code.

    python benchmarks/window_idle.py --before b611038 --write

Trains a small model on this machine's CPUs with both versions in turn, in one process and in two that find each other by
jax.distributed, with the workdir on the disk and on a server of Google Cloud Storage's protocol on this machine, each of
whose answers comes --latency seconds late. A thread notes when each step is done: until the run starts another one, the
devices are idle. Nothing is evaluated or saved meanwhile. Prints a table and one line of JSON, and with --write writes both
to `benchmarks/results/window_idle.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

import numpy as np
from page import ROOT, Page

# Processes, and where the workdir is.
CASES = ("1-disk", "2-disk", "2-bucket")
WINDOW_STEPS = 10
# Before which steps compile and caches fill.
_FIRST_STEP = 2 * WINDOW_STEPS + 1
_LIMIT_SECONDS = 600.0


def write_pairs(folder: str) -> None:
    """400 training pairs."""
    from codepmp_jax.records.schema import PreferencePair, content_id
    from codepmp_jax.records.shards import write_manifest, write_split

    rng = np.random.default_rng(0)

    def code() -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x"], rng.integers(20, 90)))

    rows = [(f"do {i}", code(), code()) for i in range(400)]
    pairs = [PreferencePair(content_id(*row), *row) for row in rows]
    write_manifest(folder, PreferencePair, {"train": write_split(folder, "train", pairs, 2)}, {})


class Run(NamedTuple):
    """What a process is told."""

    pairs: str
    workdir: str
    num_steps: int


def make_config(run: Run) -> Any:
    """Its settings, by the version of the code that the process has: it logs and does nothing else until its last step."""
    from codepmp_jax.config import CheckpointConfig, DataConfig, ModelConfig, TrainConfig

    return TrainConfig(
        workdir=run.workdir,
        model=ModelConfig(
            vocab_size=4096,
            embed_dim=128,
            mlp_dim=256,
            num_layers=4,
            num_heads=4,
            num_kv_heads=2,
            head_dim=32,
            compute_dtype="float32",
            remat="none",
        ),
        data=DataConfig(
            input=run.pairs, layout="packed", row_length=256, max_length=128, num_streams=2
        ),
        checkpoint=CheckpointConfig(every_steps=10**6),
        global_batch_rows=4,
        num_steps=run.num_steps,
        log_every_steps=WINDOW_STEPS,
        eval_pairs=0,
        compilation_cache=False,
    )


class Watch:
    """When each step was started and done."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}
        self.done: dict[int, float] = {}
        self._running: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._wait, daemon=True).start()

    def watch(self, loop: Any) -> None:
        """Notes the steps of runs of codepmp_jax.training.loop."""
        step = loop._Loop._step

        def noted(own: Any, number: int, batch: Any) -> Any:
            self.started[number] = time.perf_counter()
            metrics = step(own, number, batch)
            self._running.put((number, metrics["loss"]))
            return metrics

        loop._Loop._step = noted

    def _wait(self) -> None:
        while True:
            number, loss = self._running.get()
            loss.block_until_ready()
            self.done[number] = time.perf_counter()

    def figures(self, num_steps: int) -> dict[str, float]:
        """Of the steps from _FIRST_STEP on, without the last window, at whose end the run saves."""
        steps = range(_FIRST_STEP, num_steps - WINDOW_STEPS)
        idle = {n: max(0.0, self.started[n + 1] - self.done[n]) for n in steps}
        ends = [seconds for n, seconds in idle.items() if n % WINDOW_STEPS == 0]
        others = [seconds for n, seconds in idle.items() if n % WINDOW_STEPS]
        return {
            "idle_ms": 1e3 * statistics.mean(ends),
            "longest_ms": 1e3 * max(ends),
            "other_ms": 1e3 * statistics.mean(others),
            "steps_per_second": len(steps) / (self.done[steps[-1]] - self.done[steps[0] - 1]),
        }


def run_host(run: Run, output: str) -> None:
    """One process of a run; the first writes its figures."""
    import jax

    from codepmp_jax.devices import hosts
    from codepmp_jax.training import loop

    hosts.join()
    watch = Watch()
    watch.watch(loop)
    loop.train(make_config(run))
    if jax.process_index() == 0:
        pathlib.Path(output).write_text(json.dumps(watch.figures(run.num_steps)))


def measure(code: pathlib.Path, number: int, run: Run, variables: dict[str, str]) -> Any:
    """The figures of a run of `number` processes with the package in the folder `code`."""
    from tests.processes import free_port

    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, "figures.json")
        if number > 1:
            variables = variables | {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
                "JAX_NUM_PROCESSES": str(number),
            }
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--host", json.dumps(run), "--output", output],
                env=os.environ
                | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(code), "JAX_PROCESS_ID": str(process)}
                | variables,
                stderr=subprocess.PIPE,
                text=True,
            )
            for process in range(number)
        ]
        try:
            for process in processes:
                _, said = process.communicate(timeout=_LIMIT_SECONDS)
                assert process.returncode == 0, said
        finally:
            for process in processes:
                process.kill()
        return json.loads(output.read_text())


def main() -> None:
    """Measures all, or is one process of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="b611038", help="commit to compare with")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--num-steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.host:
        run_host(Run(*json.loads(arguments.host)), arguments.output)
        return
    sys.path.insert(0, str(ROOT))
    from tests import gcs

    page = Page("window_idle", "Idle devices at the end of a window")
    with tempfile.TemporaryDirectory() as folder, gcs.running_bucket() as bucket:
        before = pathlib.Path(folder, "before")
        before.mkdir()
        archive = subprocess.run(
            ["git", "archive", arguments.before], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", before], input=archive.stdout, check=True)
        pairs = f"{folder}/pairs"
        write_pairs(pairs)
        proxy = gcs.Proxy(bucket.server)
        proxy.latency = arguments.latency
        rows = []
        for case in arguments.cases:
            number, store = int(case[0]), case[2:]
            found: dict[str, list[Any]] = {"before": [], "after": []}
            place = "gs://code" if store == "bucket" else folder
            for repeat in range(arguments.repeats):
                for version, code in (("before", before), ("after", ROOT)):
                    workdir = f"{place}/{case}-{version}-{repeat}"
                    run = Run(pairs, workdir, arguments.num_steps)
                    figures = measure(code, number, run, bucket.variables(proxy.url))
                    print(case, version, figures, file=sys.stderr)
                    found[version].append(figures)
            ratio = statistics.median(
                new["steps_per_second"] / old["steps_per_second"]
                for old, new in zip(found["before"], found["after"], strict=True)
            )
            for version, runs in found.items():
                median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
                rows.append(
                    {"hosts": number, "workdir": store, "version": version, **median}
                    | ({"ratio": ratio} if version == "after" else {})
                )
        proxy.close()
    lines = [
        "| hosts | workdir | version | idle at a window's end, ms | longest, ms | between other steps, ms | steps/s |"
        " ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['hosts']} | {row['workdir']} | {row['version']} | {row['idle_ms']:.1f} | {row['longest_ms']:.1f} | "
            f"{row['other_ms']:.2f} | {row['steps_per_second']:.2f} | "
            + (f"{row['ratio']:.3f} |" if "ratio" in row else "|")
        )
    note = (
        f"`before` is commit {arguments.before}. {arguments.num_steps} steps, a window of the log every {WINDOW_STEPS}; "
        f"medians of {arguments.repeats} runs of each version, in turn. The bucket is a server on this machine whose "
        f"answers come {1e3 * arguments.latency:.0f} ms late. Ratio: of steps/s after and before, the median of pairs "
        "of runs. The longest wait of a run is that of one window."
    )
    if arguments.write:
        print(page.write(note, "\n".join(lines), rows=rows))
    else:
        print("\n".join([note, "", *lines]))


if __name__ == "__main__":
    main()
