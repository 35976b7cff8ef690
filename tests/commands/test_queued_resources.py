"""What keeps a queued resource, with a stand-in for gcloud that records and misbehaves."""

from __future__ import annotations

import pathlib
import shlex
import stat
import time

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE
from codepmp_jax.commands import queued_resources
from codepmp_jax.commands.queued_resources import Watcher, make_commands
from codepmp_jax.config import QueuedResourceConfig
from tests import processes
from tests.e2e.launching import command, environment, launch

OPTIONS = ["--config", "pmp_7b", "--workdir", "gs://bucket/a run"]
LOGS = "gs://bucket/a run/launch"
TRANSIENT = "HttpError 503: UNAVAILABLE: The service is currently unavailable."
# `failures` has "VERB MESSAGE" of calls to fail, in turn; `states` the answers of list, in turn, empty for a resource
# that is not there; `ended` what storage cat finds. With STATE|STATUS|SECONDS a host writes to `ended` that it ended
# with STATUS, SECONDS (or none) before that answer.
GCLOUD = """\
#!/bin/bash
cd {folder}
verb=$4
[ "$1" = storage ] && verb=cat
[ $verb = cat ] || echo "$verb $*" >>log
read -r wanted message <failures
if [ "$wanted" = "$verb" ]; then
    sed -i 1d failures
    echo "ERROR: (gcloud.compute.tpus) $message" >&2
    exit 1
fi
case $verb in
list)
    IFS='|' read -r state status seconds <states
    sed -i 1d states
    [ -z "$status" ] || echo "$status $(($(date +%s) - ${{seconds:-0}})) host-w-0" >ended
    [ -z "$state" ] || printf '%s\\t%s\\n' "$state" "$(cat created)"
    ;;
create) for argument in "$@"; do case "$argument" in
    *startup-script=*) cp "${{argument#*startup-script=}}" script ;;
    esac; done ;;
cat) cat ended ;;
esac
"""


class Cloud:
    """The stand-in: what it answers and how it was called."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        program = folder / "gcloud"
        program.write_text(GCLOUD.format(folder=folder))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.write(failures="", states="", created="")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def states(self, *states: str) -> None:
        self.write(states="".join(f"{state}\n" for state in states))

    @property
    def calls(self) -> list[str]:
        """Verbs of the calls; several checks of the state in a row are one."""
        path = self.folder / "log"
        verbs = [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
        return [
            verb for i, verb in enumerate(verbs) if verb != "list" or verbs[i - 1 : i] != ["list"]
        ]


@pytest.fixture
def cloud(tmp_path, monkeypatch) -> Cloud:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Cloud(tmp_path)


def watch(logs: str = LOGS, **settings: object) -> int:
    config = QueuedResourceConfig(name="pmp", poll_seconds=1e-5, **settings)  # pyright: ignore[reportArgumentType]
    return Watcher(config, make_commands(config, "/dev/null"), logs).run()


def ended(status: int, seconds_ago: float = 0) -> str:
    """What a host leaves when it ends."""
    return f"{status} {time.time() - seconds_ago:.0f} host-w-0"


# --- the commands ---------------------------------------------------------------------------------


def test_a_dry_run_shows_the_commands_and_the_script():
    options = ("--name", "pmp", "--spot", "--zone", "z", "--dry-run", "--", *OPTIONS)
    lines = launch("queued_resources.py", *options).splitlines()
    shown = [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]
    assert [line[4] for line in shown] == ["list", "create", "delete", "describe"]
    create = shown[1]
    assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "pmp"]
    assert {"--spot", "--zone=z", "--node-id=pmp"} <= set(create)
    assert "--filter=name ~ /pmp$" in shown[0]
    assert "#!/bin/bash" in lines


def test_several_slices_are_asked_for_together():
    config = QueuedResourceConfig(name="pmp", num_slices=4)
    create = make_commands(config, "s")["create"]
    assert {"--node-count=4", "--node-prefix=pmp"} <= set(create)
    assert not [flag for flag in create if flag.startswith("--node-id")]


# --- the watcher ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "began"),
    [("", ["list", "create"]), ("ACTIVE", []), ("FAILED", ["list", "delete", "create"])],
)
def test_a_slice_that_is_taken_away_is_asked_for_again(cloud, first, began):
    """And no longer once its hosts are done; one that is there is watched."""
    done = "ACTIVE|0"
    cloud.states(first, "WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED", "", "ACTIVE", done, "")
    assert watch() == 0
    assert cloud.calls == [*began, "list", "delete", "create", "list"]


@pytest.mark.parametrize("status", [0, MISTAKE, HOST_LOST, 137])
def test_its_status_is_that_of_the_training(cloud, status, capsys):
    cloud.states("", "ACTIVE", f"ACTIVE|{status}", "DELETING", "")
    assert watch() == status
    shown = capsys.readouterr().out
    assert ("training is done" in shown) == (status == 0)
    if status:
        assert f"ended with status {status}, see {LOGS}/pmp-host-w-0.log" in shown
    assert "delete" not in cloud.calls


def test_a_slice_that_is_not_given_back_is_deleted(cloud, capsys):
    """Its service account may lack the right to."""
    cloud.write(created="2026-11-01T10:00:00.123456789Z")
    cloud.states("ACTIVE", "ACTIVE|0|500", "ACTIVE|0|700", "ACTIVE")
    assert watch() == 0
    assert cloud.calls == ["list", "delete"]
    assert "do not give the slice back; deleting it" in capsys.readouterr().out


def test_a_slice_that_is_kept_is_said_to_be_billed(cloud, capsys):
    cloud.states("", "ACTIVE", f"ACTIVE|{MISTAKE}")
    assert watch(keep_after_mistake=True) == MISTAKE
    shown = capsys.readouterr().out
    assert "BILLED: gcloud compute tpus queued-resources delete pmp" in shown
    assert "delete" not in cloud.calls


def test_what_hosts_of_an_earlier_request_left_counts_for_nothing(cloud):
    cloud.write(ended=ended(MISTAKE, 3600))
    cloud.states("", "ACTIVE", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0


def test_a_slice_that_is_gone_without_a_word_is_reported(cloud, capsys):
    cloud.states("", "ACTIVE", "")
    assert watch() == 1
    assert f"no host left a status in {LOGS}" in capsys.readouterr().out


def test_a_bucket_may_fail_when_the_slice_is_gone(cloud):
    cloud.write(failures=f"cat {TRANSIENT}\n" * 4)
    cloud.states("", "PROVISIONING", f"|{HOST_LOST}")
    assert watch() == HOST_LOST


@pytest.mark.parametrize("created", ["", "soon", "2026-11-01T10:00:00Z", "2026-11-01 10:00:00"])
def test_a_time_of_creation_need_not_be_there(cloud, created):
    cloud.write(created=created)
    cloud.states("", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0


def test_a_workdir_on_a_disk_leaves_the_watcher_without_a_status(cloud, tmp_path):
    cloud.states("", "ACTIVE", "")
    assert watch(logs="/nowhere/launch") == 0
    (tmp_path / "log").unlink()
    cloud.states("", "ACTIVE", "")
    (tmp_path / "pmp.ended").write_text(ended(HOST_LOST))
    assert watch(logs=str(tmp_path)) == HOST_LOST


def test_a_request_that_is_not_listed_at_once_is_waited_for(cloud):
    cloud.states("", "", "", "ACCEPTED", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0
    assert cloud.calls == ["list", "create", "list"]


def test_requests_that_keep_failing_are_made_ever_more_slowly(cloud, capsys):
    cloud.states("", "FAILED", "FAILED", "FAILED", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0
    shown = capsys.readouterr().out
    assert "FAILED, 3 times in a row; why: gcloud compute tpus queued-resources describe" in shown
    assert cloud.calls.count("create") == 4


# --- a gcloud that fails --------------------------------------------------------------------------

FORBIDDEN = "PERMISSION_DENIED: Permission 'tpu.nodes.create' denied on project 'pp'."


@pytest.mark.parametrize("verb", ["list", "create", "delete"])
def test_the_watcher_outlives_a_failing_gcloud(cloud, verb, capsys):
    cloud.write(failures=f"{verb} {TRANSIENT}\n" * 12)
    cloud.states("", "ACTIVE", "SUSPENDED", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0
    shown = capsys.readouterr().out
    assert "gcloud failed 12 times in a row" in shown
    assert TRANSIENT in shown
    assert "looks permanent" not in shown


def test_waits_grow_up_to_ten_minutes(monkeypatch):
    watcher = Watcher(QueuedResourceConfig(), make_commands(QueuedResourceConfig(), "s"), LOGS)
    assert [watcher._wait(failures) for failures in (1, 2, 3, 4, 10, 100)] == [
        *(10, 20, 40, 80),
        *(600, 600),
    ]


@pytest.mark.parametrize(
    "said",
    [
        FORBIDDEN,
        "NOT_FOUND: Project 'pp' was not found.",
        "INVALID_ARGUMENT: accelerator type v5litepod-7 is unknown",
        "There was a problem refreshing your current auth tokens: Reauthentication failed.",
        "You do not currently have an active account selected. Run: $ gcloud auth login",
    ],
)
def test_a_request_that_can_never_work_is_a_mistake(cloud, said):
    """Only before there is a slice."""
    cloud.write(failures=f"create {said}\n" * 20)
    cloud.states("")
    with pytest.raises(UserError, match="failed 5 times") as error:
        watch()
    assert said in str(error.value)
    assert "Remedy: " in str(error.value)


def test_a_running_slice_is_watched_whatever_gcloud_says(cloud, capsys):
    """A credential that ran out can be renewed."""
    cloud.states("ACTIVE", "ACTIVE|0", "")
    cloud.write(failures="")
    config = QueuedResourceConfig(name="pmp", poll_seconds=1e-5)
    watcher = Watcher(config, make_commands(config, "/dev/null"), LOGS)
    watcher._state()
    cloud.write(failures=f"list {FORBIDDEN}\n" * 11)
    assert watcher.run() == 0
    shown = capsys.readouterr().out
    assert shown.count("looks permanent: the slice goes on, and is billed") == 2


def test_a_lost_answer_is_no_failure(cloud):
    exists = "ALREADY_EXISTS: Resource 'pmp' already exists"
    cloud.write(failures=f"create {TRANSIENT}\ncreate {exists}\ndelete NOT_FOUND: pmp not found\n")
    cloud.states("", "ACTIVE", "SUSPENDED", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0


def test_a_gcloud_that_hangs_is_run_again(cloud, monkeypatch, capsys):
    monkeypatch.setattr(queued_resources, "_CALL_SECONDS", 0.5)
    program = cloud.folder / "gcloud"
    text = program.read_text()
    program.write_text(
        text.replace("verb=$4\n", "verb=$4\n[ -e hung ] || { touch hung; exec sleep 60; }\n")
    )
    cloud.states("", "ACTIVE", "ACTIVE|0", "")
    assert watch() == 0
    assert "no answer within" in capsys.readouterr().out


def test_a_missing_gcloud_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="gcloud: no such command"):
        watch()


def test_the_command_passes_the_script_and_the_status_on(cloud):
    setup = cloud.folder / "setup.sh"
    setup.write_text("echo setting up\n")
    cloud.states("", "ACTIVE", "ACTIVE|3", "")
    settings = ("--name", "pmp", "--poll-seconds", 0.01, "--setup", setup)
    done = processes.run(
        command("queued_resources.py", *settings, "--", *OPTIONS),
        environment(PATH=f"{cloud.folder}:/usr/bin:/bin"),
    )
    assert done.returncode == 3, done.stderr
    script = (cloud.folder / "script").read_text()
    assert script.startswith("#!/bin/bash\n")
    assert "echo setting up" in script
    training = shlex.join(["/opt/codepmp_jax/.venv/bin/codepmp", "train", *OPTIONS])
    assert training in script
