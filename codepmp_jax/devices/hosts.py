"""The hosts of a run: how their processes find one another, and how one leaves the others."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import hardware_utils

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE
from codepmp_jax.devices import chips

# Device files of GPUs, on a machine or in a container.
_GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd")
_ADDRESS = "JAX_COORDINATOR_ADDRESS"
_COUNTS = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def join(join_seconds: int = 1800, heartbeat_seconds: int = 100) -> None:
    """Joins the other hosts of a TPU slice, or those that JAX_COORDINATOR_ADDRESS names.

    Waits up to `join_seconds` for all of them. A host without a sign of life for `heartbeat_seconds` ends the
    others. On TPUs it first sets the flags with which libtpu starts (chips.set_libtpu_flags). Raises UserError where the
    number of hosts or the index of this one is not given with the address.
    """
    timeouts: dict[str, Any] = {
        "initialization_timeout": join_seconds,
        "heartbeat_timeout_seconds": heartbeat_seconds,
    }
    is_tpu = _num_tpu_chips() > 0 and "tpu" in (os.environ.get("JAX_PLATFORMS") or "tpu").split(",")
    if is_tpu:
        chips.set_libtpu_flags()
    if is_tpu and not all(name in os.environ for name in (_ADDRESS, *_COUNTS)):
        jax.distributed.initialize(**timeouts)
    elif _ADDRESS in os.environ:
        for name in _COUNTS:
            value = os.environ.get(name, "")
            require(value.isdecimal(), name, value, "must be a number", "set it on every host")
        number, index = (int(os.environ[name]) for name in _COUNTS)
        # JAX's detection of clusters would leave a process under Slurm one GPU of its node.
        jax.distributed.initialize(
            num_processes=number,
            process_id=index,
            cluster_detection_method="deactivate",
            **timeouts,
        )


def _num_tpu_chips() -> int:
    """TPU chips of this machine, as JAX finds them: by the vendor and the device of the PCI bus. Device files are no
    sign, as those of a GPU that is passed through to a virtual machine have the same names."""
    return hardware_utils.num_available_tpu_chips_and_device_id()[0]


def require_accelerator() -> None:
    """Raises UserError where JAX found only CPUs on a machine with a TPU or GPU, unless JAX_PLATFORMS asks for CPUs."""
    if jax.default_backend() != "cpu" or "cpu" in os.environ.get("JAX_PLATFORMS", "").split(","):
        return
    found = "TPU chips" if _num_tpu_chips() else ""
    found = found or next((name for name in _GPU_FILES if pathlib.Path(name).exists()), "")
    require(
        not found,
        "jax.default_backend()",
        "cpu",
        f"must be the accelerator of this machine, which has {found}",
        "install JAX for it (the extra tpu, or jax[cuda13]) and see JAX's message above; or set JAX_PLATFORMS=cpu",
    )


# How XLA and JAX's coordination service say that another host is gone.
_LOST = re.compile(
    r"^(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b"
    r"|coordination service|CoordinationService|heartbeat|preempted"
    r"|gloo.*(connection|closed|timed out|read error|write error|connect)",
    re.IGNORECASE,
)
# What another start would meet again: what the compiler refuses, and too little memory.
_REFUSED = re.compile(
    r"^(INVALID_ARGUMENT|UNIMPLEMENTED|RESOURCE_EXHAUSTED)\b|Mosaic|\bvmem\b", re.IGNORECASE
)


def status_of(error: Exception) -> int:
    """The exit status of an error that is no UserError: of another host that is gone, of a program that the compiler
    or the devices' memory refuses, or of a crash (1)."""
    if not isinstance(error, jax.errors.JaxRuntimeError):
        return 1
    said = str(error)
    if _REFUSED.search(said):
        return MISTAKE
    return HOST_LOST if _LOST.search(said) else 1


_REMEDIES = {
    HOST_LOST: "the work with the other hosts failed, most likely since one of them is gone: {} Remedy: start all "
    "hosts again with the same command; they resume from the newest checkpoint",
    MISTAKE: "XLA refuses the program: {} Remedy: see the traceback above; codepmp compile-check finds without devices "
    "what compiles and fits",
    1: "{}",
}


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
            status = status_of(error)
            said = f"host {jax.process_index()}: {_REMEDIES[status].format(said)}"
        print(f"error: {said}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        if jax.process_index() == 0:
            # The coordination service ends with the first host and aborts the others: let them speak first.
            time.sleep(3)
        os._exit(status)
