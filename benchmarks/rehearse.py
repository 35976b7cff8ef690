"""Rehearses what a pod meets: several hosts, a bucket and a hub that fail, signals, hosts that come late or go.

    make rehearse
    python benchmarks/rehearse.py --hosts 2 --only hub bucket

The hosts are processes of launch/tpu_pod.py on this machine that find one another through jax.distributed (gloo). Pairs,
model and workdir lie on a server of Google Cloud Storage's protocol, behind a proxy that misbehaves; the hub is a
server that is down in all scenarios but those of `hub`. Each run is compared with an undisturbed one, to the bit.
Prints a table and one line of JSON, and with --write writes both to `benchmarks/results/rehearsal.md`. It ends with
status 1 where a scenario went otherwise than it says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import chaos
import jax
from page import Page
from pod import BASE, HUB_NAME, Pod, stage

from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE, RESUME, STORE
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import TrainConfig
from tests.gcs import Fault, Proxy
from tests.hosts import Hosts
from tests.hub import running_hub

# Seconds that the last host comes late, and that the others wait for one that never comes.
_LATE, _JOIN = 20, 15
# Of a lost host: the others' own status, or that of JAX, which aborts them.
_LOST = {HOST_LOST, -signal.SIGABRT}


@dataclasses.dataclass
class Row:
    """What was done to a run and what it did."""

    done: str
    starts: list[list[int]]
    """Exit statuses of the hosts, by start."""
    is_expected: bool
    lost_steps: int | None = None
    """Steps that were done again; None where no run began."""
    equals: bool | None = None
    """Whether the run ended as the undisturbed one."""
    said: str = ""
    """The error that the first host ended with, or what was measured."""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def _error(hosts: Hosts, host: int = 0) -> str:
    """The one line of the error that a host ended with."""
    found = re.findall(r"^error: (.*)$", hosts.printed()[host], re.MULTILINE)
    line = found[-1] if found else ""
    line = re.sub(r"https?://127[^ ,)]*", "URL", line.partition(" Remedy:")[0])
    return line if len(line) <= 200 else f"{line[:200]} ..."


def _judged(row: Row, on: Pod, config: TrainConfig) -> Row:
    """The row with how the run, which is over, compares with the undisturbed one."""
    if row.starts[-1] != [0] * on.num_hosts:
        row.is_expected = False
        return row
    row.lost_steps = on.lost_steps(config)
    found = chaos.differences(config, on.undisturbed)
    row.equals = not found
    row.is_expected &= row.equals
    row.said = "; ".join(found) or row.said
    return row


# --- scenarios ------------------------------------------------------------------------------------


def start_from_bucket(on: Pod) -> Row:
    """Every other run is compared with this one, which also says what each host read of the model."""
    proxies = [Proxy(on.bucket.server) for _ in range(on.num_hosts)]
    with on.hosts(on.undisturbed, proxies=proxies) as hosts:
        statuses = on.statuses(hosts)
    shares = [num_bytes / on.model_bytes for num_bytes in _own_bytes(proxies)]
    steps = on.saved_steps("undisturbed")
    num_steps = on.undisturbed.num_steps
    assert num_steps is not None
    kept = [(num_steps - 1) // 3 * 3, num_steps]
    shown = ", ".join(f"{share:.0%}" for share in shares)
    return Row(
        "nothing; the model from the bucket",
        [statuses],
        statuses == [0] * on.num_hosts
        and not on.hub.requests
        and max(shares) < 1.6 / on.num_hosts
        and steps == kept,
        on.lost_steps(on.undisturbed),
        True,
        f"each host read of the model: {shown}; checkpoints kept: {', '.join(map(str, steps))}",
        {"shares": shares, "kept": steps},
    )


def _own_bytes(proxies: list[Proxy]) -> list[int]:
    """What each host read of the model for itself.

    Orbax reads pieces that lie less than 1 MB apart in one, as all of so small a model do: where a host's pieces are no
    neighbours, what it read between them, the whole range of another host, does not count.
    """
    folder = f"{BASE.removeprefix('gs://code/')}/checkpoints/0/params/"
    reads = [
        {asked: size for asked, size in proxy.num_read.items() if folder in asked[0]}
        for proxy in proxies
    ]
    ranges = {
        asked: tuple(map(int, re.findall(r"\d+", asked[1]))) for read in reads for asked in read
    }

    def between(asked: tuple[str, str]) -> int:
        """Bytes of a range that lie in those of others strictly within it."""
        if not ranges[asked]:
            return 0
        first, last = ranges[asked]
        within = (
            range(one[0], one[1] + 1)
            for (path, _), one in ranges.items()
            if path == asked[0] and one and first < one[0] and one[1] < last
        )
        return len(set().union(*within))

    return [sum(size - between(asked) for asked, size in read.items()) for read in reads]


def start_while_hub_is_down(on: Pod) -> Row:
    """Without a checkpoint, and with the hub's model: all end alike, and a supervisor starts them again."""
    on.hub.status = 200
    last = on.num_hosts - 1
    with running_hub(on.folder / "hf") as ill:
        ill.status = 503
        hubs = [*[on.hub] * last, ill]
        with on.hosts(on.config("hub-down", HUB_NAME), hubs=hubs) as hosts:
            statuses = on.statuses(hosts)
            said = _error(hosts)
    on.hub.status = 503
    return Row(
        "the model from the hub, which answers 503 to the last host",
        [statuses],
        statuses == [STORE] * on.num_hosts
        and said.startswith(f"host {last}: model.init_from = '{HUB_NAME}'")
        and "the Hugging Face hub cannot be reached" in said,
        said=said,
    )


def resume_while_hub_is_down(on: Pod) -> Row:
    """The checkpoint has the model, the workdir the tokenizer."""
    config = on.config("hub", HUB_NAME)
    on.hub.status, on.hub.requests = 200, []
    with on.hosts(config) as hosts:
        hosts.wait_for("step 6: saving")
        on.hub.status = 503
        hosts.processes[-1].send(signal.SIGTERM)
        stopped = on.statuses(hosts)
    tensors = [path for path in on.hub.requests if path.startswith("GET") and "safetensors" in path]
    on.hub.requests = []
    starts = [stopped, on.finish(config)]
    row = Row(
        "the model from the hub; SIGTERM to the last host; the hub down at the next start",
        starts,
        stopped == [RESUME] * on.num_hosts and not on.hub.requests and len(tensors) == 1,
        said=f"downloads of the weights by the machine: {len(tensors)}; requests to the hub at the next start: "
        f"{len(on.hub.requests)}",
        figures={
            "downloads": len(tensors),
            "requests_on_resume": len(on.hub.requests),
            "kept": on.saved_steps("hub"),
        },
    )
    return _judged(row, on, config)


def kill_one(on: Pod) -> Row:
    """The collectives of the others break."""
    config = on.config("kill-one")
    with on.hosts(config) as hosts:
        hosts.wait_for("step 8: evaluating")
        hosts.processes[-1].kill()
        killed = on.statuses(hosts)
        said = _error(hosts)
    row = Row(
        "SIGKILL to the last host while it evaluates",
        [killed, on.finish(config)],
        {*killed[:-1]} <= _LOST and killed[-1] == -signal.SIGKILL,
        said=said,
    )
    return _judged(row, on, config)


def kill_all(on: Pod) -> Row:
    """As where the notice before a preemption is too short for the save."""
    config = on.config("kill-all")
    with on.hosts(config) as hosts:
        hosts.wait_for("step 9: saving")
        for process in hosts.processes:
            process.send(signal.SIGTERM)
        for process in hosts.processes:
            process.send(signal.SIGKILL)
        killed = on.statuses(hosts)
    row = Row(
        "SIGTERM and at once SIGKILL to all hosts while they save",
        [killed, on.finish(config)],
        killed == [-signal.SIGKILL] * on.num_hosts,
    )
    return _judged(row, on, config)


def late_host(on: Pod) -> Row:
    """As where one machine takes longer to be set up."""
    config = on.config("late")
    with on.hosts(config, late=on.num_hosts - 1) as hosts:
        time.sleep(_LATE)
        hosts.start(on.num_hosts - 1)
        statuses = on.statuses(hosts)
    row = Row(f"the last host starts {_LATE} s after the others", [statuses], True)
    return _judged(row, on, config)


def absent_host(on: Pod) -> Row:
    """The others do not wait for ever."""
    with on.hosts(on.config("absent", join_seconds=_JOIN), late=on.num_hosts - 1) as hosts:
        started = time.monotonic()
        statuses = on.statuses(hosts)
        seconds = time.monotonic() - started
    return Row(
        f"the last host never comes; --watchdog.join-seconds {_JOIN}",
        [statuses],
        0 not in statuses and MISTAKE not in statuses,
        said=f"the others ended after {seconds:.0f} s",
    )


def _with_fault(on: Pod, workdir: str, fault: Fault, num_faults: int, what: str) -> Row:
    """A run whose bucket has a fault, for so many requests, and is well again."""
    config = on.config(workdir)
    with on.hosts(config) as hosts:
        hosts.wait_for("step 3: saving")
        on.proxy.num_faults, on.proxy.fault = 0, fault
        while hosts.processes[0].poll() is None and on.proxy.num_faults < num_faults:
            time.sleep(0.05)
        on.proxy.fault = "none"
        starts = [on.statuses(hosts)]
        said = _error(hosts)
    # On a slow machine the faults last longer than is waited for.
    is_expected = {*starts[0]} <= {0} or {*starts[0]} <= {STORE, *_LOST}
    if any(starts[0]):
        starts.append(on.finish(config))
    row = Row(f"{what}, {num_faults} times while it runs and saves", starts, is_expected, said=said)
    return _judged(row, on, config)


def slow_bucket(on: Pod) -> Row:
    """Each answer takes a second longer."""
    return _with_fault(on, "slow", "slow", 20, "the bucket answers a second late")


def ill_bucket(on: Pod) -> Row:
    """What is asked again."""
    return _with_fault(on, "ill", "error", 8, "the bucket answers 503")


def lost_answers(on: Pod) -> Row:
    """What was written may be asked for again."""
    return _with_fault(on, "lost", "lost", 8, "the bucket's answers are lost")


def denied_bucket(on: Pod) -> Row:
    """No retry helps: someone must give the role back."""
    config = on.config("denied")
    with on.hosts(config) as hosts:
        hosts.wait_for("step 6: saving")
        on.proxy.fault = "denied"
        denied = on.statuses(hosts)
        said = _error(hosts)
    on.proxy.fault = "none"
    row = Row(
        "the bucket denies all access, until the next start",
        [denied, on.finish(config)],
        0 not in denied and denied[0] == STORE and {*denied} <= {STORE, *_LOST},
        said=said,
    )
    return _judged(row, on, config)


def no_metadata(on: Pod) -> Row:
    """What roles/storage.objectAdmin alone lacks."""
    on.proxy.fault = "no metadata"
    with on.hosts(on.config("no-metadata")) as hosts:
        statuses = on.statuses(hosts)
        said = _error(hosts)
        names_role = "roles/storage.legacyBucketReader" in hosts.printed()[0]
    on.proxy.fault = "none"
    return Row(
        "the account lacks storage.buckets.get",
        [statuses],
        {*statuses} <= {MISTAKE, *_LOST} and statuses[0] == MISTAKE and names_role,
        said=said,
    )


# By the name of their group, in the order in which they are run.
SCENARIOS: tuple[tuple[str, Callable[[Pod], Row]], ...] = (
    ("bucket", start_from_bucket),
    ("hub", start_while_hub_is_down),
    ("hub", resume_while_hub_is_down),
    ("signals", kill_one),
    ("signals", kill_all),
    ("joining", late_host),
    ("joining", absent_host),
    ("faults", slow_bucket),
    ("faults", ill_bucket),
    ("faults", lost_answers),
    ("faults", denied_bucket),
    ("faults", no_metadata),
)


def table(rows: list[Row]) -> str:
    """A Markdown table of what was done and what came of it."""
    lines = [
        "| what was done | exit statuses of the hosts, by start | steps done again | ended as undisturbed |"
        " what the first host said, or what was measured |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        starts = "; ".join(" ".join(map(str, statuses)) for statuses in row.starts)
        lost = "" if row.lost_steps is None else str(row.lost_steps)
        equals = {None: "", True: "yes", False: "**no**"}[row.equals]
        mark = "" if row.is_expected else " **(not as meant)**"
        said = row.said.replace("|", "\\|")
        lines.append(f"| {row.done}{mark} | {starts} | {lost} | {equals} | {said} |")
    return "\n".join(lines)


def main() -> None:
    """Parses, plays the scenarios, prints."""
    groups = list(dict.fromkeys(group for group, _ in SCENARIOS))
    parser = argparse.ArgumentParser(description="Rehearses what a pod meets.")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--steps", type=int, default=16, help="of a run")
    parser.add_argument("--only", nargs="+", choices=groups, default=groups)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/rehearsal"))
    parser.add_argument("--write", action="store_true", help="write the page in results/")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")
    page = Page("rehearse", "What a pod meets, rehearsed", result="rehearsal")
    folder = options.output.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Of what all are compared with.
    played = [play for group, play in SCENARIOS if group in {"bucket", *options.only}]
    rows = []
    with stage(folder, options.hosts, options.steps) as rehearsal:
        for play in progress(played, unit="scenario", desc="rehearse"):
            rows.append(play(rehearsal))
    shown = table(rows)
    figures = {
        "hosts": options.hosts,
        "as_meant": all(row.is_expected for row in rows),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    if options.write:
        note = (
            f"{options.hosts} hosts, runs of {options.steps} steps with a checkpoint every 3 and an evaluation every 4 "
            "of them. Metrics (but for speeds), parameters and optimizer state are compared with those of the "
            "undisturbed run in the first row. Statuses below 0 are signals, as which JAX "
            "ends hosts too; the others are those of codepmp_jax/cli/exit_codes.py."
        )
        page.write(note, shown, **figures)
    print(shown, json.dumps({"benchmark": "rehearse", **figures}), sep="\n")
    sys.exit(0 if figures["as_meant"] else 1)


if __name__ == "__main__":
    main()
