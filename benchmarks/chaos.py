"""Kills training over and over, and compares what comes out with an undisturbed run, bit for bit.

    make chaos KILLS=50
    python benchmarks/chaos.py --kills 5 --stores local

A small run of launch/tpu_pod.py is started again each time it was killed, by SIGTERM or SIGKILL, while it starts,
restores, steps, evaluates or saves, drawn at random; runs follow one another until all kills are spent. In the
store gcs workdir and pairs lie on a server of Google Cloud Storage's protocol on this machine. Prints a table and
one line of JSON, and with --write writes both to `benchmarks/results/chaos.md`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import fsspec
import fsspec.config
import numpy as np
from page import ROOT, Page

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.exit_codes import RESUME
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CheckpointConfig, DataConfig, ModelConfig, TrainConfig, presets
from codepmp_jax.files import storage
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import write_manifest, write_split

# Phase -> what the trainer says when it begins, and within how many seconds of that the kill falls.
PHASES = {
    "start": ("", 3.0),
    "restore": ("restoring ", 0.5),
    "step": (": saving", 0.3),
    "eval": (": evaluating", 0.1),
    "save": (": saving", 0.05),
}
# What it says where there is nothing to restore.
_NEW = "starting at step 0"
SIGNALS: tuple[int, ...] = (signal.SIGTERM, signal.SIGKILL)
# Longest time without a line of its log, and to its end.
_LIMIT_SECONDS = 500.0
# How a process may end that was told to: killed, stopped as asked, or done before.
_ENDS = {-signal.SIGKILL, -signal.SIGTERM, RESUME, 0}


def write_pairs(folder: str) -> None:
    """80 training and 24 held-out pairs, some of them too long."""
    rng = np.random.default_rng(0)

    def code(words: int) -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x", "+", "1"], words))

    def make(number: int) -> list[PreferencePair]:
        rows = [(f"do {i}", code(8), code(90 if i % 7 == 3 else 8)) for i in range(number)]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(80), 2),
        "heldout": write_split(folder, "heldout", make(24), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})


def make_config(workdir: str, pairs: str, num_steps: int) -> TrainConfig:
    """A packed run that shuffles, saves, evaluates and drops."""
    return TrainConfig(
        workdir=workdir,
        model=ModelConfig(
            vocab_size=4096,
            embed_dim=64,
            mlp_dim=96,
            num_layers=2,
            num_heads=2,
            num_kv_heads=1,
            head_dim=32,
            compute_dtype="float32",
            remat="none",
        ),
        data=DataConfig(
            input=pairs,
            layout="shared",
            row_length=128,
            max_length=64,
            num_streams=2,
            num_workers=1,
        ),
        checkpoint=CheckpointConfig(every_steps=3, keep=2),
        global_batch_rows=4,
        num_steps=num_steps,
        log_every_steps=2,
        eval_every_steps=4,
        eval_pairs=24,
    )


class Training:
    """A process of the trainer in a session of its own, whose log is read as it comes."""

    def __init__(self, config: TrainConfig, folder: pathlib.Path, variables: dict[str, str]):
        saved = folder / "config.json"
        saved.write_text(json.dumps(presets.to_json(config)), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "launch" / "tpu_pod.py", "--config", saved],
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def _wait_for(self, *texts: str) -> str | None:
        """Waits until it says one of `texts`, and says which; None where it ends before."""
        while (line := self._lines.get(timeout=_LIMIT_SECONDS)) is not None:
            self._said.append(line)
            for text in texts:
                if text in line:
                    return text
        # For whoever waits next.
        self._lines.put(None)
        return None

    def wait_in(self, phase: str, rng: random.Random) -> str:
        """Waits for a moment in `phase`, and says in which it is: one with nothing to restore steps."""
        text, within = PHASES[phase]
        if phase == "restore" and self._wait_for(text, _NEW) == _NEW:
            phase, (text, within), times = "step", PHASES["step"], 1
        elif phase in ("start", "restore"):
            times = 0
        else:
            times = rng.randint(1, 3)
        for _ in range(times):
            self._wait_for(text)
        time.sleep(rng.uniform(0, within))
        return phase

    def end(self, number: int | None = None) -> int:
        """Sends a signal if one is given, waits for the end; the exit status."""
        if number is not None:
            self._process.send_signal(number)
        self._wait_for()
        return self._process.wait(_LIMIT_SECONDS)

    def close(self) -> None:
        """Kills it and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_LIMIT_SECONDS)

    def said(self) -> str:
        """Its last words."""
        return "".join(self._said[-30:])


@dataclasses.dataclass
class Outcome:
    """What became of the kills of one phase and signal."""

    kills: int = 0
    survived: int = 0


def disturb(
    config: TrainConfig,
    folder: pathlib.Path,
    variables: dict[str, str],
    plan: list[tuple[str, int]],
    rng: random.Random,
    outcomes: dict[tuple[str, int], Outcome],
) -> None:
    """Runs to the end, with the kills of `plan` on the way; those that are left stay in `plan`."""
    killed: tuple[str, int] | None = None
    while True:
        planned = plan[-1] if plan else None
        with contextlib.closing(Training(config, folder, variables)) as training:
            if planned is None:
                status = training.end()
            else:
                planned = (training.wait_in(planned[0], rng), planned[1])
                status = training.end(planned[1])
        if status not in _ENDS:
            raise SystemExit(f"after {killed}: status {status}\n{training.said()}")
        if killed is not None:
            outcomes[killed].survived += 1
        if status == 0:
            return
        plan.pop()
        assert planned is not None
        killed = planned
        outcomes[killed].kills += 1


def final_state(config: TrainConfig) -> list[np.ndarray]:
    """Parameters and optimizer state after the last step."""
    import jax

    from codepmp_jax.devices import sharding
    from codepmp_jax.training import optimizer as optimizers
    from codepmp_jax.training.state import abstract_state

    assert config.num_steps is not None
    mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])
    abstract = abstract_state(config, optimizers.build(config.optimizer, config.num_steps), mesh)
    restored = Checkpointer(config.workdir).restore(
        abstract.params, (abstract.step, abstract.opt_state), config.num_steps
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves((restored.params, restored.optimizer))]


def rows(config: TrainConfig) -> list[dict[str, Any]]:
    """The run's metrics without what measures time."""
    text = (storage.to_path(config.workdir) / "metrics.jsonl").read_text()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("speed/")}
        for line in text.splitlines()
    ]


def differences(ours: TrainConfig, theirs: TrainConfig) -> list[str]:
    """In what two runs differ; empty where they are the same to the bit."""
    found = []
    if [row["step"] for row in rows(ours)] != list(range(1, (ours.num_steps or 0) + 1)):
        found.append("metrics.jsonl does not have every step once")
    if rows(ours) != rows(theirs):
        found.append("metrics")
    pairs = zip(final_state(ours), final_state(theirs), strict=True)
    if not all(np.array_equal(a, b) for a, b in pairs):
        found.append("parameters or optimizer state")
    return found


def table(outcomes: dict[tuple[str, int], Outcome]) -> str:
    """A Markdown table: a row a phase, a column a signal."""
    lines = ["| while it | SIGTERM | SIGKILL |", "|---|---|---|"]
    names = {"start": "starts", "restore": "restores", "step": "steps"}
    names |= {"eval": "evaluates", "save": "saves"}
    for phase in PHASES:
        cells = [outcomes[phase, number] for number in SIGNALS]
        shown = " | ".join(f"{cell.survived} of {cell.kills} survived" for cell in cells)
        lines.append(f"| {names[phase]} | {shown} |")
    return "\n".join(lines)


def chaos(
    store: str,
    folder: pathlib.Path,
    num_steps: int,
    plan: list[tuple[str, int]],
    rng: random.Random,
) -> tuple[dict[str, Any], dict[tuple[str, int], Outcome]]:
    """Runs undisturbed once, and disturbed until all kills are spent; figures, and what became of the kills."""
    folder.mkdir(parents=True)
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }
    outcomes: dict[tuple[str, int], Outcome] = collections.defaultdict(Outcome)
    started, num_kills = time.monotonic(), len(plan)
    with contextlib.ExitStack() as stack:
        write_pairs(f"{folder}/pairs")
        at = str(folder)
        if store == "gcs":
            sys.path.append(str(ROOT))
            from tests.gcs import running_bucket

            server = stack.enter_context(running_bucket()).variables()
            os.environ.update(server)
            # As codepmp_jax.files.storage does where the server is named when it is imported.
            fsspec.config.conf.setdefault("gcs", {})["token"] = "anon"
            variables |= server
            fsspec.filesystem("gcs").put(f"{folder}/pairs/", "gs://code/pairs/", recursive=True)
            at = "gs://code"
        undisturbed = make_config(f"{at}/undisturbed", f"{at}/pairs", num_steps)
        disturb(undisturbed, folder, variables, [], rng, outcomes)
        bar = stack.enter_context(progress(total=num_kills, unit="kill", desc=store))
        found: list[str] = []
        lost_steps = starts = num_runs = 0
        while plan:
            num_runs += 1
            config = dataclasses.replace(undisturbed, workdir=f"{at}/disturbed-{num_runs}")
            disturb(config, folder, variables, plan, rng, outcomes)
            found += [f"run {num_runs}: {what}" for what in differences(config, undisturbed)]
            kept = json.loads((storage.to_path(config.workdir) / "goodput.json").read_text())
            lost_steps += kept["lost_steps"]
            starts += kept["starts"]
            bar.update(num_kills - len(plan) - bar.n)
    return {
        "kills": sum(outcome.kills for outcome in outcomes.values()),
        "survived": sum(outcome.survived for outcome in outcomes.values()),
        "bit_identical": not found,
        "differences": found,
        "lost_steps": lost_steps,
        "runs": num_runs,
        "starts": starts,
        "seconds": round(time.monotonic() - started, 1),
    }, outcomes


def main() -> None:
    """Parses, brings chaos to each store, prints."""
    parser = argparse.ArgumentParser(description="Kills training over and over.")
    parser.add_argument("--kills", type=int, default=50, help="in each store")
    parser.add_argument("--steps", type=int, default=40, help="of a run")
    parser.add_argument("--seed", type=int, default=0)
    stores = ["local", "gcs"]
    parser.add_argument("--stores", nargs="+", choices=stores, default=stores)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/chaos"))
    parser.add_argument("--write", action="store_true", help="write the page in results/")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    page = Page("chaos", "Training that is killed over and over")
    rng = random.Random(options.seed)
    shutil.rmtree(options.output, ignore_errors=True)
    figures, tables = {}, []
    for store in options.stores:
        every = list(itertools.product(PHASES, SIGNALS))
        rounds = range(-(-options.kills // len(every)))
        plan = [kill for _ in rounds for kill in rng.sample(every, len(every))][: options.kills]
        folder = options.output.absolute() / store
        figures[store], outcomes = chaos(store, folder, options.steps, plan, rng)
        tables.append(f"{store}:\n\n{table(outcomes)}")
    sums = {
        name: sum(figure[name] for figure in figures.values())
        for name in ("kills", "survived", "lost_steps")
    }
    sums["bit_identical"] = all(figure["bit_identical"] for figure in figures.values())
    shown = "\n\n".join(tables)
    if options.write:
        note = (
            f"Runs of {options.steps} steps, with a checkpoint every 3 and an evaluation every 4 of them. "
            "Metrics (but for speeds), parameters and optimizer state are compared with those of an "
            "undisturbed run. A kill is survived if the next start goes on."
        )
        page.write(note, shown, **sums, stores=figures)
    print(shown, json.dumps({"benchmark": "chaos", **sums, "stores": figures}), sep="\n")
    sys.exit(0 if sums["bit_identical"] and sums["survived"] == sums["kills"] else 1)


if __name__ == "__main__":
    main()
