"""Trains on a TPU slice that gcloud's queued resources give, and asks for it again when it is taken away.

    codepmp queued-resources --name pmp --spot -- --config pmp_7b --workdir gs://B/pmp ...

What stands after -- goes to `codepmp train` on every host. --dry-run prints what would run.
"""

from __future__ import annotations

import pathlib
import shlex
import tempfile
import time

from codepmp_jax.cli import shell
from codepmp_jax.config import QueuedResourceConfig, presets

COMMAND = (QueuedResourceConfig, "Trains on a slice by gcloud's queued resources.")
# States of a queued resource from which it does not come back.
_GONE = ("SUSPENDED", "FAILED")


def make_commands(config: QueuedResourceConfig, script: str) -> dict[str, list[str]]:
    """What creates the queued resource, prints its state, and deletes it; `script` runs on each host."""
    base = ["gcloud", "compute", "tpus", "queued-resources"]
    place = [f"--zone={config.zone}", *([f"--project={config.project}"] if config.project else [])]
    account = config.service_account
    return {
        "create": [
            *base,
            "create",
            config.name,
            f"--node-id={config.name}",
            *place,
            f"--accelerator-type={config.accelerator_type}",
            f"--runtime-version={config.runtime_version}",
            *(["--spot"] if config.spot else []),
            *([f"--service-account={account}"] if account else []),
            f"--metadata-from-file=startup-script={script}",
        ],
        "state": [
            *base,
            "list",
            *place,
            f"--filter=name ~ /{config.name}$",
            "--format=value(state.state)",
        ],
        "delete": [*base, "delete", config.name, *place, "--force", "--quiet"],
    }


def startup_script(config: QueuedResourceConfig, options: list[str], delete: list[str]) -> str:
    """What each host runs when it starts."""
    setup = "" if config.setup is None else pathlib.Path(config.setup).read_text(encoding="utf-8")
    training = shlex.join([".venv/bin/codepmp", "train", *options])
    return f"""\
#!/bin/bash
{setup}
cd {shlex.quote(config.repository)} || exit
.venv/bin/codepmp supervise -- {training} || exit
# Done: the slice gives itself back, once the other hosts are done too.
sleep 60
{shlex.join([*delete, "--async"])}
"""


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
        state = shell.run(commands["state"], config.dry_run)
        if state not in ("", *_GONE):
            print(f"{config.name}: {state}; watching it, with the options it was made with")
        while True:
            if state in _GONE:
                print(f"{config.name}: {state}; asking for it again", flush=True)
                shell.run(commands["delete"], config.dry_run)
            if state in ("", *_GONE):
                shell.run(commands["create"], config.dry_run)
            while (state := shell.run(commands["state"], config.dry_run)) not in ("", *_GONE):
                time.sleep(config.poll_seconds)
            if not state:
                return
