"""What a host of a queued resource does, in bash, with stand-ins for the cloud's and the machine's programs."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
import subprocess

import pytest

from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE, RESUME
from codepmp_jax.commands.startup_script import log_folder, startup_script
from codepmp_jax.config import QueuedResourceConfig

OPTIONS = ["--config", "pmp_7b", "--workdir", "gs://bucket/a run", "--data.input", "it's $HOME"]
DELETE = ["gcloud", "delete", "pmp"]
# What stands in for each program. The file `log` has their calls.
PROGRAMS = {
    # Fails as often as the file of its verb has lines. Copies to the bucket go to the folder `bucket`.
    "gcloud": """\
echo "gcloud $*" >>log
if [ -s "fails_$1" ]; then sed -i 1d "fails_$1"; exit 1; fi
if [ "$1" = storage ]; then mkdir -p bucket && cp "$4" "bucket/$(basename "$5")"; fi
""",
    # As systemd does: variables from --setenv, and $$ for $.
    "systemd-run": """\
variables=()
while [ "$1" != -- ]; do
    echo "$1" >>FOLDER/unit
    case "$1" in --setenv=*) variables+=("${1#--setenv=}") ;; esac
    shift
done
shift
exec env "${variables[@]}" "${@//\\$\\$/\\$}"
""",
    "systemctl": 'if [ "$1" = is-active ]; then [ -e is_active ]; else cat system_state; fi',
    "journalctl": "echo the log",
    "hostname": "echo host-w-0",
    "sleep": 'echo "sleep $1" >>log',
}
CODEPMP = """\
#!/bin/bash
printf '%s\\n' "$@" >arguments
echo "$VARIABLE" >training_variable
exit "$(cat status)"
"""


@dataclasses.dataclass
class Host:
    """A machine of the slice, whose folder is a temporary one."""

    folder: pathlib.Path

    def boot(self, setup: str = "", options: list[str] = OPTIONS, **settings: object) -> int:
        """Runs the startup script; its exit status."""
        path = self.folder / "setup.sh"
        path.write_text(setup)
        config = QueuedResourceConfig(
            name="pmp",
            repository=str(self.folder / "repository"),
            setup=str(path) if setup else None,
            **settings,  # pyright: ignore[reportArgumentType]
        )
        done = subprocess.run(
            ["bash"],
            input=startup_script(config, options, DELETE),
            cwd=self.folder,
            env={"PATH": f"{self.folder}/programs:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.output = done.stdout + done.stderr
        return done.returncode

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    @property
    def deletions(self) -> int:
        """How often it asked to be deleted."""
        return self.read("log").count("gcloud delete pmp --async\n")

    @property
    def ended(self) -> list[str]:
        """What it left for the watcher: its status and its name."""
        status, _, name = self.read("bucket/pmp.ended").split() or ("", "", "")
        return [status, name]


@pytest.fixture
def host(tmp_path) -> Host:
    (tmp_path / "programs").mkdir()
    for name, body in PROGRAMS.items():
        # Their files are in the host's folder, wherever they are started.
        program = tmp_path / "programs" / name
        place = "" if name == "systemd-run" else f"cd {tmp_path}\n"
        program.write_text(f"#!/bin/bash\n{place}{body}".replace("FOLDER", str(tmp_path)))
        program.chmod(0o755)
    program = tmp_path / "repository" / ".venv" / "bin" / "codepmp"
    program.parent.mkdir(parents=True)
    program.write_text(CODEPMP.replace("#!/bin/bash\n", f"#!/bin/bash\ncd {tmp_path}\n"))
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    (tmp_path / "system_state").write_text("running")
    return Host(tmp_path)


def test_options_and_variables_arrive_as_they_are(host):
    value = "two words $HOME ${A} 'q' \"q\" %n"
    setup = 'printf %s "$VARIABLE" >setup_variable; printf %s "$CODEPMP_HOME" >home'
    assert host.boot(setup, env=(f"VARIABLE={value}",)) == 0
    program = f"{host.folder}/repository/.venv/bin/codepmp"
    assert host.read("arguments").splitlines() == ["supervise", "--", program, "train", *OPTIONS]
    assert host.read("training_variable") == f"{value}\n"
    assert host.read("setup_variable") == value
    assert host.read("home") == f"{host.folder}/repository"


def test_training_has_a_unit_whose_first_process_gets_sigterm(host):
    """Processes of a startup script get none when a machine shuts down."""
    assert host.boot(grace_seconds=120) == 0
    unit = host.read("unit").splitlines()
    assert {"--unit=codepmp", "--wait", "--property=KillMode=mixed"} <= set(unit)
    assert "--property=TimeoutStopSec=120" in unit


@pytest.mark.parametrize("status", [0, 1, MISTAKE, HOST_LOST, 137])
def test_the_slice_is_given_back_after_every_end(host, status):
    """With the log on the bucket before it is."""
    host.write("status", str(status))
    assert host.boot() == status
    assert host.deletions == 1
    assert host.read("bucket/pmp-host-w-0.log") == "the log\n"
    assert host.ended == [str(status), "host-w-0"]
    log = host.read("log").splitlines()
    assert log[-1] == "gcloud delete pmp --async"
    assert log[-2] == "sleep 60"
    assert f"training ended with status {status}" in host.output


def test_a_mistake_keeps_the_slice_only_if_asked(host):
    host.write("status", str(MISTAKE))
    assert host.boot(keep_after_mistake=True) == MISTAKE
    assert host.deletions == 0
    assert host.ended == [str(MISTAKE), "host-w-0"]
    assert "the slice is kept, and billed" in host.output
    host.write("status", "1")
    assert host.boot(keep_after_mistake=True) == 1
    assert host.deletions == 1


@pytest.mark.parametrize("state", ["running", "stopping"])
def test_a_host_that_was_asked_to_stop_does_nothing_more(host, state):
    host.write("system_state", state)
    # A machine that shuts down may take systemd-run's answer with it.
    host.write("status", str(RESUME) if state == "running" else "1")
    assert host.boot() == RESUME
    assert host.read("log") == ""


@pytest.mark.parametrize(
    "setup", ["false\ntouch after", "false | true\ntouch after", "exit 75", "if"]
)
def test_a_setup_that_fails_gives_the_slice_back(host, setup):
    """After three tries, as the network may be at fault. Training does not start."""
    assert host.boot(f"echo again >>tries\n{setup}") == 1
    assert host.read("tries") in ("again\n" * 3, "")
    assert not (host.folder / "after").exists()
    assert host.read("arguments") == ""
    assert host.deletions == 1
    assert host.ended == ["1", "host-w-0"]


def test_a_setup_may_fail_twice(host):
    assert host.boot("echo again >>tries\n[ $(wc -l <tries) = 3 ]") == 0
    assert host.read("arguments")


def test_a_repository_that_the_setup_did_not_make(host):
    assert host.boot(f"rm -r {host.folder}/repository") == MISTAKE
    assert host.deletions == 1


def test_deleting_is_tried_until_it_works(host):
    host.write("fails_delete", "\n" * 3)
    assert host.boot() == 0
    assert host.deletions == 4
    assert host.output.count("cannot be given back") == 3


def test_a_bucket_that_refuses_the_log_does_not_keep_the_slice(host):
    host.write("fails_storage", "\n" * 9)
    host.write("status", "1")
    assert host.boot() == 1
    assert host.deletions == 1
    assert "gs://bucket/a run/launch/pmp.ended could not be written" in host.output


def test_a_startup_script_that_is_run_again_leaves_training_alone(host):
    host.write("is_active", "")
    assert host.boot("touch set_up") == 0
    assert not (host.folder / "set_up").exists()
    assert host.read("log") == ""


def test_logs_of_a_workdir_on_a_disk(host):
    host.write("status", "1")
    options = ["--config", "pmp_7b", "--workdir", f"{host.folder}/shared"]
    assert host.boot(options=options) == 1
    assert host.read("shared/launch/pmp-host-w-0.log") == "the log\n"
    assert host.deletions == 1


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ("--workdir gs://b/w/ --num-steps 3", "gs://b/w/launch"),
        ("--workdir=gs://b/w", "gs://b/w/launch"),
        ("--workdir gs://b/v --workdir gs://b/w", "gs://b/w/launch"),
        ("--config pmp_7b", ""),
        ("--workdir", ""),
    ],
)
def test_logs_go_to_the_workdir(options, folder):
    assert log_folder(shlex.split(options)) == folder
