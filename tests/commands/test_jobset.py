"""The manifest of a training run on GKE, against the published schema of JobSets."""

from __future__ import annotations

import itertools
import pathlib
import re
from typing import Any

import jsonschema
import pytest
import yaml

from codepmp_jax.cli import exit_codes
from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import jobset
from codepmp_jax.config import JobsetConfig

SCHEMA = pathlib.Path(__file__).parent / "data" / "jobset_schema.yaml"
IMAGE = "us-docker.pkg.dev/p/r/codepmp_jax:1"
OPTIONS = ["--config", "pmp_7b", "--workdir", "gs://bucket/a run"]


def strict(schema: Any) -> Any:
    """The schema that refuses unknown fields, as the API server does for kubectl apply."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


VALIDATOR = jsonschema.Draft202012Validator(strict(yaml.safe_load(SCHEMA.read_text())))


def manifest(*options: str, **settings: Any) -> dict[str, Any]:
    config = JobsetConfig(**{"image": IMAGE, **settings})
    made = jobset.make_manifest(config, list(options or OPTIONS))
    # As kubectl reads it.
    return yaml.safe_load(yaml.safe_dump(made, sort_keys=False))


def job(made: dict[str, Any]) -> dict[str, Any]:
    (replicated,) = made["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def pod(made: dict[str, Any]) -> dict[str, Any]:
    return job(made)["template"]["spec"]


def container(made: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(made)["containers"]
    return only


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_slices": 4, "queue": None, "host_network": False, "service_account": "trainer"},
        {"env": ("A=1", "B="), "priority": "high", "node_selectors": ("x.y/z=true", "e=")},
        {"tpu_type": "v5p:4x4x12", "max_restarts": 0, "namespace": "research"},
        {"tpu_type": "v6e-8", "chips_per_host": 8},
    ],
    ids=str,
)
def test_manifests_follow_the_published_schema(settings):
    VALIDATOR.validate(manifest(**settings))


def test_the_schema_refuses_what_the_server_would():
    made = manifest()
    job(made)["backofLimit"] = 0
    assert not VALIDATOR.is_valid(made)
    made = manifest()
    pod(made)["terminationGracePeriodSeconds"] = "300s"
    assert not VALIDATOR.is_valid(made)
    made = manifest(env=("A=1",))
    container(made)["env"][0]["value"] = 1
    assert not VALIDATOR.is_valid(made)


@pytest.mark.parametrize(
    ("settings", "hosts", "chips"),
    [
        ({"tpu_type": "v5litepod-256"}, 64, 4),
        ({"tpu_type": "v5litepod-8"}, 2, 4),
        ({"tpu_type": "v5litepod-8", "chips_per_host": 8}, 1, 8),
        ({"tpu_type": "v5e:1x1"}, 1, 1),
        ({"tpu_type": "v5p-128", "num_slices": 2}, 16, 4),
    ],
)
def test_a_slice_is_a_job_and_a_host_is_a_pod(settings, hosts, chips):
    made = manifest(**settings)
    (replicated,) = made["spec"]["replicatedJobs"]
    assert replicated["replicas"] == settings.get("num_slices", 1)
    assert job(made)["parallelism"] == job(made)["completions"] == hosts
    assert container(made)["resources"]["limits"] == {"google.com/tpu": chips}
    # Pods of one slice find each other by their index.
    assert job(made)["completionMode"] == "Indexed"


def restarts(made: dict[str, Any], status: int) -> bool:
    """Whether the controllers restart all hosts after one ended with a status, by Kubernetes' rules."""
    assert pod(made)["restartPolicy"] == "Never"
    assert job(made)["backoffLimit"] == 0
    reason = "BackoffLimitExceeded"
    for rule in job(made)["podFailurePolicy"]["rules"]:
        codes = rule["onExitCodes"]
        assert codes["containerName"] == container(made)["name"]
        assert (codes["operator"], rule["action"]) == ("In", "FailJob")
        if status in codes["values"]:
            reason = "PodFailurePolicy"
            break
    policy = made["spec"]["failurePolicy"]
    for rule in policy["rules"]:
        if reason in rule["onJobFailureReasons"]:
            return rule["action"] != "FailJobSet"
    return policy["maxRestarts"] > 0


def test_hosts_are_restarted_by_their_exit_status():
    """A mistake or a command that cannot be started ends the run; everything else restarts it, as supervise does."""
    made = manifest()
    ended = {status for status in range(1, 256) if not restarts(made, status)}
    assert ended == {exit_codes.MISTAKE, 126, 127, 128} == set(exit_codes.FINAL)
    assert not any(restarts(manifest(max_restarts=0), status) for status in (1, 75, 137))


def test_every_exit_status_is_final_or_restarted():
    named = {
        value
        for name, value in vars(exit_codes).items()
        if name.isupper() and value.__class__ is int
    }
    assert named <= {*exit_codes.FINAL, *exit_codes.RESTARTED}
    assert not {*exit_codes.FINAL} & {*exit_codes.RESTARTED}
    # Kubernetes refuses these lists otherwise.
    for codes in (exit_codes.FINAL, exit_codes.RESTARTED):
        assert list(codes) == sorted(set(codes))
        assert 0 not in codes


def test_names_of_pods_fit_into_a_label():
    made = manifest(name="a" * 28, num_slices=1000)
    (replicated,) = made["spec"]["replicatedJobs"]
    # NAME-JOB-SLICE-HOST-RANDOM, the random part having five characters.
    assert len(f"{made['metadata']['name']}-{replicated['name']}-999-9999-abcde") <= 63
    for wrong in ("a" * 29, "Pmp", "pmp_7b", "7b", "pmp-", ""):
        with pytest.raises(UserError, match=re.escape(f"name = {wrong!r}")):
            JobsetConfig(name=wrong)


def expanded(text: str, environment: dict[str, str]) -> str:
    """What Kubernetes makes of a part of a command: $(NAME) of a known variable, $$ for $."""

    def replace(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else environment.get(found[1], found[0])

    return re.sub(r"\$\$|\$\((\w+)\)", replace, text)


@pytest.mark.parametrize(
    "text", ["".join(parts) for parts in itertools.product(["$", "(HOME)", "x"], repeat=3)]
)
def test_options_and_variables_arrive_as_they_are(text):
    made = manifest("--workdir", text, env=(f"HOME={text}",))
    got = [expanded(part, {"HOME": "wrong"}) for part in container(made)["command"]]
    assert got == ["codepmp", "train", "--workdir", text]
    assert expanded(container(made)["env"][0]["value"], {"HOME": "wrong"}) == text


def test_nodes_and_queues():
    made = manifest(node_selectors=("cloud.google.com/gke-spot=true",), priority="high")
    assert pod(made)["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "16x16",
        "cloud.google.com/gke-spot": "true",
    }
    assert made["metadata"]["labels"] == {
        "kueue.x-k8s.io/queue-name": "multislice-queue",
        "kueue.x-k8s.io/priority-class": "high",
    }
    assert made["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    assert "hostNetwork" not in pod(manifest(host_network=False))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"image": ""}, "image = ''"),
        ({"image": "codepmp_jax"}, "image = 'codepmp_jax'"),
        ({"tpu_type": "a100-8"}, "tpu_type = 'a100-8'"),
        ({"tpu_type": "v5litepod-16", "chips_per_host": 3}, "chips_per_host = 3"),
        ({"env": ("A",)}, "env = ('A',)"),
        ({"node_selectors": ("spot",)}, "node_selectors = ('spot',)"),
    ],
    ids=str,
)
def test_mistakes_are_named(settings, named):
    with pytest.raises(UserError, match="Remedy: ") as error:
        manifest(**settings)
    assert named in str(error.value)


def test_the_manifest_is_printed_or_written(tmp_path, monkeypatch, capsys):
    path = tmp_path / "new" / "jobset.yaml"
    command = ["jobset", "--image", IMAGE, "--num-slices", "2"]
    monkeypatch.setattr("sys.argv", [*command, "--", *OPTIONS])
    jobset.main()
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == manifest(num_slices=2)
    monkeypatch.setattr("sys.argv", [*command, "--output", str(path), "--", *OPTIONS])
    jobset.main()
    assert path.read_text() == printed
