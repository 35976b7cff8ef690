"""Prints the Kubernetes manifest of a training run on TPU slices of a GKE cluster.

    codepmp jobset --name pmp --image IMAGE -- --config pmp_7b --workdir gs://B/pmp ... | kubectl apply -f -

What stands after -- goes to `codepmp train` on every host. The cluster has JobSet 0.7 or newer and, unless --queue
is None, Kueue. Restarts follow the exit status: docs/guides/operating.md.
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.cli.errors import require
from codepmp_jax.cli.exit_codes import FINAL
from codepmp_jax.commands.gcluster import require_image
from codepmp_jax.config import JobsetConfig, presets
from codepmp_jax.devices.slices import Slice, slice_of

COMMAND = (JobsetConfig, "Prints the manifest of a JobSet that trains on GKE.")
_CONTAINER = "train"
# Where libtpu's processes meet: those of a slice, and those of several slices.
_PORTS = (8471, 8080)


def make_manifest(config: JobsetConfig, options: list[str]) -> dict[str, Any]:
    """The JobSet (jobset.x-k8s.io/v1alpha2): a job a slice, a pod a host.

    GKE gives the pods TPU_WORKER_ID, TPU_WORKER_HOSTNAMES and MEGASCALE_..., by which JAX joins hosts and slices.
    Raises UserError for an unknown slice, one whose chips do not fill its hosts, and an image without a registry.
    """
    require_image(config.image)
    tpu = slice_of(config.tpu_type)
    labels = {
        "kueue.x-k8s.io/queue-name": config.queue,
        "kueue.x-k8s.io/priority-class": config.priority,
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": config.name,
            "namespace": config.namespace,
            "labels": {name: value for name, value in labels.items() if value is not None},
            # A slice is a node pool: no two jobs share one.
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            # Hosts look for each other before they are ready.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": {
                "maxRestarts": config.max_restarts,
                # All hosts end before one starts again: a workdir has one run.
                "restartStrategy": "BlockingRecreate",
                # Any other end of a job restarts them all.
                "rules": [
                    {
                        "name": "final",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    }
                ],
            },
            "replicatedJobs": [
                {
                    "name": "slice",
                    "replicas": config.num_slices,
                    "template": {"spec": _job(config, tpu, options)},
                }
            ],
        },
    }


def _job(config: JobsetConfig, tpu: Slice, options: list[str]) -> dict[str, Any]:
    """The job of a slice: it fails as soon as one of its hosts does."""
    chips = min(config.chips_per_host, tpu.num_chips)
    require(
        tpu.num_chips % chips == 0,
        "chips_per_host",
        config.chips_per_host,
        f"must divide the {tpu.num_chips} chips of {config.tpu_type}",
        "give the number of chips of the nodes' machine type",
    )
    hosts = tpu.num_chips // chips
    return {
        "completionMode": "Indexed",
        "parallelism": hosts,
        "completions": hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": _CONTAINER,
                        "operator": "In",
                        "values": list(FINAL),
                    },
                }
            ]
        },
        "template": {"spec": _pod(config, tpu, chips, options)},
    }


def _pod(config: JobsetConfig, tpu: Slice, chips: int, options: list[str]) -> dict[str, Any]:
    """A host's pod."""
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": config.grace_seconds,
    }
    if config.service_account is not None:
        pod["serviceAccountName"] = config.service_account
    if config.host_network:
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    pod["nodeSelector"] = {
        "cloud.google.com/gke-tpu-accelerator": tpu.gke_accelerator,
        "cloud.google.com/gke-tpu-topology": tpu.shape,
    } | dict(label.split("=", 1) for label in config.node_selectors)
    container: dict[str, Any] = {
        "name": _CONTAINER,
        "image": config.image,
        "command": [_literal(part) for part in ("codepmp", "train", *options)],
        "ports": [{"containerPort": port} for port in _PORTS],
        "resources": {"limits": {"google.com/tpu": chips}},
    }
    if config.env:
        pairs = (variable.split("=", 1) for variable in config.env)
        container["env"] = [{"name": name, "value": _literal(value)} for name, value in pairs]
    return pod | {"containers": [container]}


def _literal(text: str) -> str:
    """What Kubernetes reads as `text`: it replaces $(NAME) in commands and variables, and $$ by $."""
    return text.replace("$", "$$")


def main() -> None:
    """Parses, prints or writes."""
    arguments, options = presets.split_arguments()
    config = presets.parse(*COMMAND, arguments)
    import yaml

    text = yaml.safe_dump(make_manifest(config, options), sort_keys=False, width=1000)
    if config.output is None:
        print(text, end="")
    else:
        from codepmp_jax.files import output as outputs
        from codepmp_jax.files import storage

        with outputs.file(config.output) as file:
            storage.write_text(file, text)
