"""Checks jaxtyping's shape annotations of the package at run time, under pytest only."""

import ctypes
import gc
import os
import pathlib
import sys

# Eight devices in one process, for the sharding tests; and programs that compile fast rather than run
# fast, since the tests run each of them a few times only. XLA aborts a process whose devices have not met in a
# collective for 40 seconds: on a busy machine they may take longer. Must be set before jax starts.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The environments of vLLM, SeqIO and RewardBench are installed without bytecode: the first process that a test
# starts there writes it, and each later one starts in half the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from jaxtyping import install_import_hook

ROOT = pathlib.Path(__file__).resolve().parents[1]


def typed_modules() -> list[str]:
    """Modules with shape annotations: a check makes functions within functions anew at every call, a millisecond each,
    so the others do without."""
    paths = (ROOT / "codepmp_jax").rglob("*.py")
    typed = [path for path in paths if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in typed)


install_import_hook(typed_modules(), "beartype.beartype")

# Growth of a process after which it frees memory (bytes). jax keeps what it compiled: up to a gigabyte a module.
GROWTH = 512 << 20
_resident = [0]


def resident_bytes() -> int:
    """Memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The garbage collector runs between tests only, when the threads that a test started have ended: it frees what JAX
# compiled, and that lets other threads run in the midst of it.
gc.disable()
# Objects made since the last collection, after which there is another.
_YOUNG_OBJECTS = 100_000


@pytest.fixture(autouse=True)
def frees_memory():
    """Collects garbage, and lets go of compiled programs when a process has grown by GROWTH since it last did."""
    yield
    if gc.get_count()[0] > _YOUNG_OBJECTS:
        gc.collect(1)
    if resident_bytes() < _resident[0] + GROWTH:
        return
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
    # The allocator keeps what is free otherwise.
    ctypes.CDLL(None).malloc_trim(0)
    _resident[0] = resident_bytes()


@pytest.fixture(scope="session")
def running_bucket():
    """A server with a bucket, for all tests of a process: its libraries ask only once where it is."""
    from tests import gcs

    with gcs.running_bucket() as bucket:
        os.environ.update(bucket.variables())
        yield bucket
        for name in bucket.variables():
            os.environ.pop(name, None)


@pytest.fixture
def bucket(running_bucket):
    """The bucket gs://code, empty."""
    for name in running_bucket.names():
        running_bucket.delete(name)
    return running_bucket


@pytest.fixture
def proxy(bucket, monkeypatch):
    """The bucket by way of a server that can misbehave."""
    from tests import gcs

    proxy = gcs.Proxy(bucket.server)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    yield proxy
    proxy.close()
