"""The hosts of a run: how their processes find one another, and how one leaves the others."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Iterator

import jax

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.exit_codes import HOST_LOST


def join(heartbeat_seconds: int = 60) -> None:
    """Joins the other hosts of a TPU slice, or those that JAX_COORDINATOR_ADDRESS names.

    A host without a sign of life for `heartbeat_seconds` ends the others.
    """
    dev = pathlib.Path("/dev")
    is_tpu_vm = any(dev.glob("accel[0-9]*")) or any(dev.glob("vfio/[0-9]*"))
    platforms = os.environ.get("JAX_PLATFORMS") or "tpu"
    if is_tpu_vm and "tpu" in platforms.split(","):
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat_seconds)
    elif "JAX_COORDINATOR_ADDRESS" in os.environ:
        names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        for name in names:
            value = os.environ.get(name, "")
            require(value.isdecimal(), name, value, "must be a number", "set it on every host")
        number, index = (int(os.environ[name]) for name in names)
        jax.distributed.initialize(
            num_processes=number, process_id=index, heartbeat_timeout_seconds=heartbeat_seconds
        )


@contextlib.contextmanager
def leaving_on_error() -> Iterator[None]:
    """Where there are other hosts, an error within ends this process at once, with the reason on stderr.

    To close a run takes all hosts, and those that have no error would not come.
    """
    try:
        yield
    except Exception as error:
        if not jax.distributed.is_initialized() or jax.process_count() == 1:
            raise
        said, status = " ".join(str(error).splitlines()), 1
        if isinstance(error, UserError):
            status = error.status
        else:
            traceback.print_exc()
            if isinstance(error, jax.errors.JaxRuntimeError):
                status = HOST_LOST
                said = (
                    f"host {jax.process_index()}: the work with the other hosts failed, most likely since "
                    f"one of them is gone: {said} Remedy: start all hosts again with the same command; "
                    "they resume from the newest checkpoint"
                )
        print(f"error: {said}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        if jax.process_index() == 0:
            # The coordination service ends with the first host and aborts the others: let them speak first.
            time.sleep(3)
        os._exit(status)
