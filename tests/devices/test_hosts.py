"""How a process finds the other hosts, and what its exit says of an error."""

from __future__ import annotations

import os

import jax
import pytest
from jax._src import clusters

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import HOST_LOST, MISTAKE
from codepmp_jax.devices import chips, hosts

GIVEN = {
    "JAX_COORDINATOR_ADDRESS": "node1:1234",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
}


@pytest.fixture
def joined(monkeypatch):
    """What jax.distributed.initialize was called with."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
    for name in (*GIVEN, *SLURM, "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hosts, "_num_tpu_chips", lambda: 0)
    return calls


def set_all(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_process_alone_joins_nobody(joined):
    hosts.join(10, 20)
    assert joined == []


def test_a_node_of_slurm_keeps_all_its_devices(joined, monkeypatch):
    """JAX's own detection restricts it to the device of its local index, even where all three variables are set."""
    set_all(monkeypatch, GIVEN | SLURM)
    detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
    assert detect("node1:1234", 2, 1, None, None, 300)[3] == [0]
    hosts.join(10, 20)
    assert joined == [
        {
            "num_processes": 2,
            "process_id": 1,
            "cluster_detection_method": "deactivate",
            "initialization_timeout": 10,
            "heartbeat_timeout_seconds": 20,
        }
    ]


def test_a_tpu_slice_finds_its_hosts_by_itself(joined, monkeypatch):
    """libtpu, which starts later, gets its flags."""
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_a=1")
    monkeypatch.setattr(hosts, "_num_tpu_chips", lambda: 4)
    hosts.join(10, 20)
    assert joined == [{"initialization_timeout": 10, "heartbeat_timeout_seconds": 20}]
    assert os.environ["LIBTPU_INIT_ARGS"] == chips.libtpu_init_args("--xla_a=1")


def test_a_tpu_slice_that_is_asked_to_use_its_cpus_does_not_join(joined, monkeypatch):
    monkeypatch.setattr(hosts, "_num_tpu_chips", lambda: 4)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    hosts.join(10, 20)
    assert joined == []


def test_an_address_without_the_counts_is_refused(joined, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "node1:1234")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES = '': must be a number"):
        hosts.join(10, 20)


def test_a_gpu_without_its_plugin_is_refused_unless_cpus_are_asked_for(monkeypatch, tmp_path):
    device = tmp_path / "nvidia0"
    monkeypatch.setattr(hosts, "_GPU_FILES", (str(device),))
    monkeypatch.setattr(hosts, "_num_tpu_chips", lambda: 0)
    monkeypatch.delenv("JAX_PLATFORMS")
    hosts.require_accelerator()
    device.touch()
    with pytest.raises(UserError, match=f"which has {device}"):
        hosts.require_accelerator()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    hosts.require_accelerator()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("UNAVAILABLE: failed to connect to all addresses", HOST_LOST),
        ("DEADLINE_EXCEEDED: Barrier timed out", HOST_LOST),
        ("ABORTED: connection reset", HOST_LOST),
        (
            "INTERNAL: The following tasks are unhealthy (stopped sending heartbeats)",
            HOST_LOST,
        ),
        (
            "FAILED_PRECONDITION: Gloo all-reduce failed: [pair.cc:547] Connection closed by peer",
            HOST_LOST,
        ),
        ("INVALID_ARGUMENT: No such compile option: 'xla_tpu_no_such_option'", MISTAKE),
        ("RESOURCE_EXHAUSTED: Error allocating device buffer", MISTAKE),
        ("INTERNAL: Mosaic failed to compile TPU kernel: failed to legalize", MISTAKE),
        (
            "INTERNAL: Ran out of memory in memory space vmem while allocating on stack",
            MISTAKE,
        ),
        ("INTERNAL: CUDA error: misaligned address", 1),
    ],
)
def test_the_status_says_whether_another_start_would_help(said, status):
    assert hosts.status_of(jax.errors.JaxRuntimeError(said)) == status
    assert hosts.status_of(ValueError(said)) == 1


def test_an_option_that_the_compiler_does_not_know_is_a_mistake():
    """As the real compiler puts it."""
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.jit(lambda x: x + 1, compiler_options={"xla_no_such_option": "true"})(1.0)
    assert hosts.status_of(raised.value) == MISTAKE
