"""Trains on TPU slices that gcloud's queued resources give, and asks for them again when they are taken away.

    codepmp queued-resources --name pmp --spot -- --config pmp_7b --workdir gs://B/pmp ...

What stands after -- goes to `codepmp train` on every host. --dry-run prints what would run.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import shlex
import sys
import tempfile
import time

from codepmp_jax.cli import shell
from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import MISTAKE
from codepmp_jax.commands.startup_script import log_folder, startup_script
from codepmp_jax.config import QueuedResourceConfig, presets

COMMAND = (QueuedResourceConfig, "Trains on slices by gcloud's queued resources.")
# States of a queued resource from which it does not come back.
_GONE = ("SUSPENDED", "FAILED")
# What a request that is wrong, or not allowed, is answered with; everything else passes with time.
_PERMANENT = re.compile(
    r"INVALID_ARGUMENT|PERMISSION_DENIED|NOT_FOUND|UNAUTHENTICATED|FAILED_PRECONDITION|not found|permission"
    r"|[Ii]nvalid|unrecognized|gcloud auth login|[Rr]eauthentication"
)
# Failures in a row after which one that looks permanent is reported as such.
_PATIENCE = 5
# Seconds: the longest wait between two tries, how long gcloud may take, and how long hosts that have ended may take to
# give their slice back.
_LONGEST_WAIT, _CALL_SECONDS, _GIVE_BACK_SECONDS = 600.0, 1800.0, 600.0
# Checks within which a new request must be in the list.
_CHECKS = 10


def make_commands(config: QueuedResourceConfig, script: str) -> dict[str, list[str]]:
    """What prints the queued resource's state, creates, deletes and describes it; `script` runs on each host."""
    base = ["gcloud", "compute", "tpus", "queued-resources"]
    place = [f"--zone={config.zone}", *([f"--project={config.project}"] if config.project else [])]
    account = config.service_account
    if config.num_slices == 1:
        nodes = [f"--node-id={config.name}"]
    else:
        nodes = [f"--node-count={config.num_slices}", f"--node-prefix={config.name}"]
    return {
        "state": [
            *base,
            "list",
            *place,
            f"--filter=name ~ /{config.name}$",
            "--format=value(state.state,createTime)",
        ],
        "create": [
            *base,
            "create",
            config.name,
            *nodes,
            *place,
            f"--accelerator-type={config.accelerator_type}",
            f"--runtime-version={config.runtime_version}",
            *(["--spot"] if config.spot else []),
            *([f"--service-account={account}"] if account else []),
            f"--metadata-from-file=startup-script={script}",
        ],
        "delete": [*base, "delete", config.name, *place, "--force", "--quiet"],
        "describe": [*base, "describe", config.name, *place],
    }


class Watcher:
    """Keeps a queued resource until its hosts say that they are done.

    A gcloud that fails is run again, with growing waits, and each failure is reported. Only before the resource has
    ever existed does a failure that looks permanent, such as a wrong project, end the watcher: later there is work
    to lose, and a credential can be renewed.
    """

    def __init__(self, config: QueuedResourceConfig, commands: dict[str, list[str]], logs: str):
        self._config = config
        self._commands = commands
        self._logs = logs
        self._has_existed = False
        self._shown = ""
        # Reports of hosts from before are about another request.
        self._created = time.time()

    def run(self) -> int:
        """The exit status of training; 1 where the slice is gone and no host said why."""
        state = self._state()
        failures = 0
        if state not in ("", *_GONE):
            self._say(f"{state}; watching it, with the options it was made with")
        while True:
            if state in _GONE:
                failures = failures + 1 if state == "FAILED" else 0
                wait = self._wait(failures - 1) if failures > 1 else 0
                why = shlex.join(self._commands["describe"])
                hint = f", {failures} times in a row; why: {why}" if wait else ""
                self._say(f"{state}{hint}; asking for it again" + f" in {wait:.0f} s" * bool(wait))
                time.sleep(wait)
                self._gcloud("delete")
            if state in ("", *_GONE):
                self._gcloud("create")
                self._has_existed = True
                self._created = time.time()
            state, status = self._watch()
            if status is not None:
                return status

    def _watch(self) -> tuple[str, int | None]:
        """Waits until the resource is taken away (its state, None) or its hosts have ended (its state, status)."""
        checks = 0
        while True:
            state = self._state()
            checks = _CHECKS if state else checks + 1
            if state in _GONE:
                return state, None
            if checks >= _CHECKS:
                status = self._status(state)
                if status is not None:
                    return state, status
            time.sleep(self._config.poll_seconds)

    def _status(self, state: str) -> int | None:
        """The status with which the hosts ended; None while they work or give the slice back."""
        ended = self._ended() if state in ("", "ACTIVE") else None
        for tries in range(1, _PATIENCE):
            # A slice that is gone is asked about no more: its bucket may be at fault for a while.
            if state or ended is not None or not self._logs.startswith("gs://"):
                break
            time.sleep(self._wait(tries))
            ended = self._ended()
        if ended is None:
            if state:
                return None
            if not self._logs.startswith("gs://"):
                self._say("gone: done, given up, or deleted. Logs are in WORKDIR/launch")
                return 0
            self._say(
                f"gone, and no host left a status in {self._logs}: deleted by hand, or its service account may not "
                "write there"
            )
            return 1
        status, when, host = ended
        where = f"{self._logs}/{self._config.name}-{host}.log"
        what = "training is done" if status == 0 else f"ended with status {status}, see {where}"
        if state and status == MISTAKE and self._config.keep_after_mistake:
            self._say(
                f"{what}. The slice is kept and BILLED: {shlex.join(self._commands['delete'])}"
            )
            return status
        if state and time.time() < when + _GIVE_BACK_SECONDS:
            return None
        self._say(what)
        if state:
            self._say("its hosts do not give the slice back; deleting it")
            self._gcloud("delete")
        return status

    def _ended(self) -> tuple[int, float, str] | None:
        """(status, time, host) that a host of this request left; None for none."""
        path = f"{self._logs}/{self._config.name}.ended"
        if self._logs.startswith("gs://"):
            text = shell.attempt(["gcloud", "storage", "cat", path], _CALL_SECONDS).output
        elif pathlib.Path(path).is_file():
            text = pathlib.Path(path).read_text(encoding="utf-8")
        else:
            return None
        matched = re.fullmatch(r"(\d+) (\d+) (\S+)", text.strip())
        if matched is None or int(matched[2]) < self._created - 1:
            return None
        return int(matched[1]), float(matched[2]), matched[3]

    def _state(self) -> str:
        """State of the resource; empty where there is none."""
        state, _, created = self._gcloud("state").partition("\t")
        if state:
            self._has_existed = True
        with contextlib.suppress(ValueError):
            self._created = datetime.datetime.fromisoformat(created).timestamp()
        if state and state != self._shown:
            self._say(state)
        self._shown = state
        return state

    def _gcloud(self, what: str) -> str:
        """What a command prints, run until it works. Raises UserError after failures that look permanent, as above."""
        command = self._commands[what]
        if what != "state":
            print(f"$ {shlex.join(command)}", flush=True)
        failures = 0
        while True:
            done = shell.attempt(command, _CALL_SECONDS)
            # The resource is as it is wanted: an answer was lost, or somebody else was faster.
            lost = {"create": "ALREADY_EXISTS", "delete": "NOT_FOUND"}.get(what)
            if done.status == 0 or (lost and lost in done.said):
                return done.output
            failures += 1
            said = " ".join(done.said.split()) or f"status {done.status}"
            looks_permanent = _PERMANENT.search(said) is not None and failures % _PATIENCE == 0
            if looks_permanent and not self._has_existed:
                raise UserError(
                    f"{shlex.join(command)}: failed {failures} times: {said}. Remedy: mend what it says, then run the "
                    "same command again."
                )
            wait = self._wait(failures)
            hint = (
                ", which looks permanent: the slice goes on, and is billed"
                if looks_permanent
                else ""
            )
            self._say(
                f"gcloud failed {failures} times in a row{hint} ({said}); again in {wait:.0f} s"
            )
            time.sleep(wait)

    def _wait(self, failures: int) -> float:
        return min(min(10.0, self._config.poll_seconds) * 2 ** (failures - 1), _LONGEST_WAIT)

    def _say(self, what: str) -> None:
        print(f"{self._config.name}: {what}", flush=True)


def main() -> None:
    """Parses, asks for the slice, and again until the run is done."""
    arguments, options = presets.split_arguments()
    config = presets.parse(*COMMAND, arguments)
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        commands = make_commands(config, file.name)
        script = startup_script(config, options, commands["delete"])
        file.write(script)
        file.flush()
        if config.dry_run:
            print(f"# {file.name}\n{script}")
            for command in commands.values():
                shell.run(command, dry_run=True)
            return
        sys.exit(Watcher(config, commands, log_folder(options)).run())
