"""What the launchers of pods would run."""

from __future__ import annotations

import pathlib
import shlex
import stat
import subprocess

import pytest

from tests.e2e.launching import command, environment, launch

OPTIONS = ["--config", "pmp_7b", "--workdir", "gs://bucket/a run"]


def shown(script: str, *options: str) -> list[list[str]]:
    """The commands that a dry run shows."""
    lines = launch(script, "--dry-run", *options, "--", *OPTIONS).splitlines()
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]


def test_xpk_submits_the_training_command():
    (create,) = shown("xpk.py", "--name", "pmp", "--num-slices", "2", "--project", "p")
    assert create[:3] == ["xpk", "workload", "create"]
    assert {"--workload=pmp", "--num-slices=2", "--project=p", "--max-restarts=100"} <= set(create)
    assert "--restart-on-exit-codes=75,70,69,74,1" in create
    assert shlex.split(create[-1].removeprefix("--command=")) == [
        "codepmp",
        "train",
        *OPTIONS,
    ]


def test_a_queued_resource_is_asked_for():
    state, create, _ = shown("queued_resources.py", "--name", "pmp", "--spot", "--zone", "z")
    assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "pmp"]
    assert {"--spot", "--zone=z", "--node-id=pmp"} <= set(create)
    assert "--filter=name ~ /pmp$" in state


# States in turn; an empty one is of a queued resource that is not there.
GCLOUD = """\
#!/bin/bash
echo "$@" >> {log}
for argument in "$@"; do case "$argument" in
    *startup-script=*) cp "${{argument#*startup-script=}}" {script} ;;
esac; done
if [ "$4" = list ]; then head -n 1 {states}; sed -i 1d {states}; fi
"""


@pytest.mark.parametrize(
    ("first", "began"),
    [
        ("", ["list", "create"]),
        ("ACTIVE", ["list"]),
        ("FAILED", ["list", "delete", "create"]),
    ],
)
def test_a_slice_that_is_taken_away_is_asked_for_again(tmp_path, first, began):
    """And no longer once it gave itself back; one that is there is watched."""
    log, script, states = (tmp_path / name for name in ("log", "script", "states"))
    states.write_text(f"{first}\nWAITING_FOR_RESOURCES\nACTIVE\nSUSPENDED\nACTIVE\n\n")
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(GCLOUD.format(log=log, script=script, states=states))
    gcloud.chmod(gcloud.stat().st_mode | stat.S_IXUSR)
    setup = tmp_path / "setup.sh"
    setup.write_text("echo setting up\n")
    done = subprocess.run(
        command(
            "queued_resources.py",
            "--name",
            "pmp",
            "--poll-seconds",
            0.01,
            "--setup",
            setup,
            "--",
            *OPTIONS,
        ),
        env=environment(PATH=f"{tmp_path}:/usr/bin:/bin"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    verbs = [line.split()[3] for line in pathlib.Path(log).read_text().splitlines()]
    assert verbs == [*began, *["list"] * 3, "delete", "create", *["list"] * 2]
    text = script.read_text()
    assert text.startswith("#!/bin/bash\necho setting up\n")
    training = shlex.join([".venv/bin/codepmp", "train", *OPTIONS])
    assert f".venv/bin/codepmp supervise -- {training} || exit\n" in text
    assert text.rstrip().endswith("--force --quiet --async")
    subprocess.run(["bash", "-n", script], check=True)
