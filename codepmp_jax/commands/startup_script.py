"""What a host of a queued resource runs when it boots: setup, then training, then giving the slice back.

It ends in one of these ways, and each is noticed:

- training ended with 75, or the machine is shutting down: somebody takes the slice away. Nothing more is done.
- any other end, of the setup too: the log goes to LOGS/NAME-HOST.log, `STATUS TIME HOST` to LOGS/NAME.ended, which the
  watcher reads, and the slice is deleted. Where deleting fails it is tried again, and the watcher deletes it after
  ten minutes.
- status 2 with keep_after_mistake: the same without deleting.
"""

from __future__ import annotations

import pathlib
import shlex

from codepmp_jax.cli.exit_codes import MISTAKE, RESUME
from codepmp_jax.config import QueuedResourceConfig

# systemd stops a unit of its own when the machine shuts down: its first process, the supervisor, gets SIGTERM and
# passes it on. Processes of startup scripts get none, only SIGKILL at the end (their unit has KillMode=process).
_UNIT = (
    "--unit=codepmp",
    "--wait",
    "--collect",
    "--quiet",
    "--property=KillMode=mixed",
    "--property=LimitMEMLOCK=infinity",
    "--property=LimitNOFILE=1048576",
)
_BODY = r"""
export HOME="${HOME:-/root}"

put() { # copies file $1 to $2
    case "$2" in
    gs://*) gcloud storage cp --quiet "$1" "$2" ;;
    *) mkdir -p "$(dirname "$2")" && cp "$1" "$2" ;;
    esac || echo "codepmp: $2 could not be written"
}

report() { # leaves the log of this boot and status $1 where the watcher finds them
    [ -n "$logs" ] || return 0
    local folder
    folder=$(mktemp -d)
    journalctl --boot --no-pager --lines=20000 --unit=codepmp --unit=google-startup-scripts >"$folder/log"
    put "$folder/log" "$logs/$name-$(hostname).log"
    echo "$1 $(date +%s) $(hostname)" >"$folder/ended"
    put "$folder/ended" "$logs/$name.ended"
}

end() { # $1 is the status with which $2 ended
    trap - EXIT
    echo "codepmp: $2 ended with status $1"
    if [ "$1" = "$resume" ] || [ "$(systemctl is-system-running)" = stopping ]; then
        echo "codepmp: was asked to stop; whoever asked decides what becomes of the slice"
        exit "$resume"
    fi
    report "$1"
    if [ "$1" = "$mistake" ] && [ -n "$keep" ]; then
        echo "codepmp: the slice is kept, and billed, until you delete it: ${delete[*]}"
        exit "$1"
    fi
    sleep 60 # the other hosts end too, and have logs
    until "${delete[@]}"; do
        echo "codepmp: the slice cannot be given back; trying again in a minute"
        sleep 60
    done
    exit "$1"
}
if systemctl is-active --quiet codepmp; then
    echo "codepmp: training runs already"
    exit 0
fi
trap 'end $? "the startup script"' EXIT
trap 'exit "$resume"' TERM

if [ -n "$setup" ]; then
    file=$(mktemp)
    printf %s "$setup" >"$file"
    for again in "in a minute" "in a minute" never; do
        env CODEPMP_HOME="$repository" "${environment[@]}" \
            timeout 3600 bash -eo pipefail "$file" && break
        status=$?
        echo "codepmp: the setup ended with status $status; again: $again"
        [ "$again" != never ] || end 1 "the setup"
        sleep 60
    done
fi
cd "$repository" || end "$mistake" "cd $repository"
systemd-run "${unit[@]}" --setenv=HOME="$HOME" "${environment[@]/#/--setenv=}" -- "${training[@]}"
end $? training
"""


def log_folder(options: list[str]) -> str:
    """Where the hosts leave their logs: WORKDIR/launch of a training command's options; empty where they name none."""
    given = [""]
    for option, following in zip(options, [*options[1:], ""], strict=True):
        name, has_value, value = option.partition("=")
        if name == "--workdir":
            given.append(value if has_value else following)
    return f"{given[-1].rstrip('/')}/launch" if given[-1] else ""


def startup_script(config: QueuedResourceConfig, options: list[str], delete: list[str]) -> str:
    """The script for bash; `delete` gives the slice back."""
    setup = "" if config.setup is None else pathlib.Path(config.setup).read_text(encoding="utf-8")
    program = f"{config.repository}/.venv/bin/codepmp"
    unit = [
        *_UNIT,
        f"--property=TimeoutStopSec={config.grace_seconds}",
        f"--property=WorkingDirectory={config.repository}",
    ]
    texts = {
        "name": config.name,
        "repository": config.repository,
        "logs": log_folder(options),
        "keep": "yes" if config.keep_after_mistake else "",
        "resume": str(RESUME),
        "mistake": str(MISTAKE),
        "setup": setup,
    }
    lists = {
        "environment": list(config.env),
        "unit": unit,
        # systemd replaces $NAME and ${NAME} in commands, and $$ by $.
        "training": [
            part.replace("$", "$$")
            for part in (program, "supervise", "--", program, "train", *options)
        ],
        "delete": [*delete, "--async"],
    }
    head = [f"{variable}={shlex.quote(value)}" for variable, value in texts.items()]
    head += [f"{variable}=({shlex.join(value)})" for variable, value in lists.items()]
    return "\n".join(["#!/bin/bash", *head, _BODY])
