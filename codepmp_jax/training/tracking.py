"""A run's metrics to an experiment tracker, beside metrics.jsonl and TensorBoard (`--track wandb`).

A thread of process 0 follows WORKDIR/metrics.jsonl and passes new rows on, so that a slow network or a tracker that
fails costs training nothing. WORKDIR/tracking.json holds the tracker's name of the run and the last step it has: a
resumed run goes on in the same tracked run, and steps that are done again are not sent again.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import codepmp_jax
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.files import storage
from codepmp_jax.files.json_files import set_aside, write_json
from codepmp_jax.training.telemetry import is_main_process, logger

FILE = "tracking.json"
# Between two looks at metrics.jsonl; a bucket is asked for all of it each time.
_SECONDS, _BUCKET_SECONDS = 10.0, 300.0


@runtime_checkable
class Tracker(Protocol):
    """A run at an experiment tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the metrics of a step. Steps ascend."""
        ...

    def close(self) -> None:
        """Sends what is left."""
        ...


class Wandb:
    """A run at Weights & Biases; WANDB_MODE, WANDB_API_KEY and its other variables apply."""

    def __init__(self, run_id: str, workdir: str, project: str, settings: Mapping[str, Any]):
        """Starts or continues the run. Raises UserError where W&B refuses it."""
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                f"track = 'wandb': W&B cannot be imported ({error}). Remedy: pip install 'codepmp_jax[wandb]'."
            ) from error
        folder = tempfile.gettempdir() if storage.is_bucket(workdir) else workdir
        try:
            self._run = wandb.init(
                project=project,
                name=storage.to_path(workdir).name,
                id=run_id,
                resume="allow",
                dir=folder,
                config=dict(settings),
                # Its copy of stdout would compete with cli.streams.
                settings=wandb.Settings(console="off", quiet=True),
            )
            # Steps of a resumed run may lie before the tracker's own count.
            self._run.define_metric("*", step_metric="step")
        except Exception as error:  # of the network, the account or the settings
            raise UserError(
                f"track = 'wandb': W&B does not take the run ({type(error).__name__}: {error}). Remedy: `wandb "
                "login`, or set WANDB_MODE=offline and `wandb sync` later."
            ) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As in Tracker."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """As in Tracker."""
        self._run.finish()


class Trackio:
    """A run at trackio, on this machine unless its variables name a Space or a server: TRACKIO_DIR, TRACKIO_SPACE_ID,
    TRACKIO_SERVER_URL."""

    def __init__(self, run_id: str, workdir: str, project: str, settings: Mapping[str, Any]):
        """Starts or continues the run. Raises UserError where trackio refuses it."""
        try:
            import trackio
        except ImportError as error:
            raise UserError(
                f"track = 'trackio': it cannot be imported ({error}). Remedy: pip install 'codepmp_jax[trackio]'."
            ) from error
        try:
            # What it prints would stand between the lines of the log's progress.
            with contextlib.redirect_stdout(None):
                self._run = trackio.init(
                    project=project,
                    # trackio knows a run by its name alone.
                    name=f"{storage.to_path(workdir).name}-{run_id}",
                    config=dict(settings),
                    resume="allow",
                    embed=False,
                    auto_log_gpu=False,
                    auto_log_cpu=False,
                )
        except Exception as error:  # of the network, the account or the settings
            raise UserError(
                f"track = 'trackio': it does not take the run ({type(error).__name__}: {error}). Remedy: see "
                "track_project and the variables TRACKIO_SPACE_ID and TRACKIO_SERVER_URL."
            ) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As in Tracker."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """As in Tracker."""
        with contextlib.redirect_stdout(None):
            self._run.finish()


TRACKERS = {"trackio": Trackio, "wandb": Wandb}


@contextlib.contextmanager
def tracked(config: TrainConfig) -> Iterator[None]:
    """Tracks the run in config.workdir on process 0, if config.track names a tracker. Raises UserError where it cannot
    be reached at the start; later failures are logged, and training goes on."""
    if config.track is None or not is_main_process():
        yield
        return
    state = _read_state(config.workdir).get(config.track) or {}
    run_id = str(state.get("id") or uuid.uuid4().hex[:12])
    tracker = TRACKERS[config.track](
        run_id, config.workdir, config.track_project or "codepmp_jax", _settings(config)
    )
    follower = _Follower(config, tracker, run_id, int(state.get("step") or 0))
    try:
        yield
    finally:
        follower.close()


class _Follower:
    """Passes on the rows of metrics.jsonl as they come."""

    def __init__(self, config: TrainConfig, tracker: Tracker, run_id: str, step: int):
        self._config = config
        self._tracker = tracker
        self._state = {"id": run_id, "step": step}
        self._path = storage.to_path(config.workdir) / "metrics.jsonl"
        self._offset = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Passes on what is left."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seconds = _BUCKET_SECONDS if storage.is_bucket(self._config.workdir) else _SECONDS
        try:
            while not self._stop.wait(seconds):
                self._send()
            self._send()
        except Exception as error:  # each tracker has errors of its own
            logger.warning("--track %s: no longer tracked: %s", self._config.track, error)
        try:
            self._tracker.close()
        except Exception as error:
            logger.warning("--track %s: %s", self._config.track, error)

    def _send(self) -> None:
        rows = [row for row in self._new_rows() if row["step"] > self._state["step"]]
        try:
            for row in rows:
                values = {name: n for name, n in row.items() if name != "step" and n is not None}
                self._tracker.log(row["step"], values)
                self._state["step"] = row["step"]
        finally:
            if rows:
                state = _read_state(self._config.workdir) | {self._config.track: self._state}
                write_json(storage.to_path(self._config.workdir) / FILE, state)

    def _new_rows(self) -> Iterator[dict[str, Any]]:
        """Rows whose lines have ended since the last time; all rows again where the file was shortened."""
        if not self._path.is_file():
            return
        content = self._read()
        end = content.rfind(b"\n") + 1
        self._offset += end
        for line in content[:end].splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and type(row.get("step")) is int:
                    yield row

    def _read(self) -> bytes:
        """What follows the offset, which goes back to 0 where less is there."""
        if storage.is_bucket(self._path):
            content = self._path.read_bytes()
            self._offset = 0 if len(content) < self._offset else self._offset
            return content[self._offset :]
        with pathlib.Path(str(self._path)).open("rb") as file:
            size = file.seek(0, 2)
            self._offset = 0 if size < self._offset else self._offset
            file.seek(self._offset)
            return file.read()


def _read_state(workdir: str) -> dict[str, Any]:
    """WORKDIR/tracking.json; one that cannot be read is put aside."""
    path = storage.to_path(workdir) / FILE
    if not path.is_file():
        return {}
    try:
        state = json.loads(path.read_text())
        if isinstance(state, dict):
            return state
        raise ValueError("no object")
    except ValueError as error:
        set_aside(path, error)
        return {}


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What the tracker shows of the run: its settings, the version, and the commit of a checkout."""
    root = pathlib.Path(codepmp_jax.__file__).parents[1]
    commit = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        **presets.to_json(config),
        "codepmp_jax": codepmp_jax.__version__,
        "git_commit": commit.stdout.strip() if commit.returncode == 0 else None,
    }
