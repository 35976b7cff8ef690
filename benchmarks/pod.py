"""A pod on this machine: hosts, a bucket behind a proxy that misbehaves, and a hub."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import chaos
import fsspec.config
import jax
from page import ROOT

sys.path.append(str(ROOT))

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.config import ConvertConfig, FromHfConfig, TrainConfig, presets
from codepmp_jax.conversion import export, run
from codepmp_jax.files import storage
from codepmp_jax.models.preference import abstract_params, init_params
from codepmp_jax.text.tokenization import Tokenizer
from tests.gcs import Bucket, Proxy, running_bucket
from tests.hosts import Hosts
from tests.hub import Hub, running_hub

BASE = "gs://code/base"
"""The model as a run in the bucket."""
HUB_NAME = "owner/name"
"""The same on the hub."""


class Pod:
    """The bucket, the hub and the hosts of all scenarios."""

    def __init__(
        self, folder: pathlib.Path, num_hosts: int, num_steps: int, bucket: Bucket, hub: Hub
    ):
        self.folder = folder
        self.num_hosts = num_hosts
        self.bucket = bucket
        self.hub = hub
        self.proxy = Proxy(bucket.server)
        config = chaos.make_config("gs://code/undisturbed", "gs://code/pairs", num_steps)
        self.undisturbed = dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, init_from=BASE),
            data=dataclasses.replace(
                config.data, num_streams=2 * num_hosts, cache=f"{folder}/cache"
            ),
            global_batch_rows=2 * num_hosts,
        )

    def config(self, workdir: str, source: str = BASE, join_seconds: int = 300) -> TrainConfig:
        """The undisturbed run's, in another workdir."""
        config = self.undisturbed
        return dataclasses.replace(
            config,
            workdir=f"gs://code/{workdir}",
            model=dataclasses.replace(config.model, init_from=source),
            watchdog=dataclasses.replace(config.watchdog, join_seconds=join_seconds),
        )

    def hosts(
        self,
        config: TrainConfig,
        *,
        proxies: list[Proxy] | None = None,
        hubs: list[Hub] | None = None,
        late: int | None = None,
    ) -> Hosts:
        """Starts the hosts of a run on a new machine; each with its own proxy, or on a machine of its own with its own
        hub, where those are given."""
        num = self.num_hosts
        machine = self.folder / f"machine-{time.monotonic_ns()}"
        caches = [machine / str(host) if hubs else machine for host in range(num)]
        each = zip(proxies or [self.proxy] * num, hubs or [self.hub] * num, caches, strict=True)
        variables = [
            self.bucket.variables(proxy.url) | hub.variables(cache) for proxy, hub, cache in each
        ]
        programs = self.folder / "programs"
        return Hosts([config] * num, programs, variables, 1, () if late is None else (late,))

    def statuses(self, hosts: Hosts) -> list[int]:
        """Those with which they end; what they said is in the folder."""
        found = hosts.wait()
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{found}\n" + "\n".join(hosts.printed()))
        return found

    def finish(self, config: TrainConfig) -> list[int]:
        """Starts the hosts and lets them run to their end."""
        with self.hosts(config) as hosts:
            return self.statuses(hosts)

    def lost_steps(self, config: TrainConfig) -> int:
        """Steps that a run did again."""
        kept = (storage.to_path(config.workdir) / "goodput.json").read_text()
        return json.loads(kept)["lost_steps"]

    @property
    def model_bytes(self) -> int:
        """Of the parameters, in float32."""
        _, shapes, _ = abstract_params(self.undisturbed.model)
        return sum(4 * leaf.size for leaf in jax.tree.leaves(shapes))

    def saved_steps(self, workdir: str) -> list[int]:
        """Steps of the whole checkpoints."""
        names = [name.split("/") for name in self.bucket.names(f"{workdir}/checkpoints/")]
        return sorted(int(step) for _, _, step, *rest in names if rest == ["commit_success.txt"])


@contextlib.contextmanager
def stage(folder: pathlib.Path, num_hosts: int, num_steps: int) -> Iterator[Pod]:
    """Pairs and model in a bucket, the same model on a hub that is down."""
    # So that so small a model has pieces, and those of a host lie together: TensorStore reads over gaps of a megabyte.
    run.LEAST_PIECE_BYTES = 2**17
    chaos.write_pairs(f"{folder}/pairs")
    config = chaos.make_config(f"{folder}/seed", f"{folder}/pairs", 1)
    _write_seed(config)
    hf = export.to_hf(
        ConvertConfig(run=config.workdir, output=f"{folder}/hf", chat_template="text")
    )
    base = run.from_hf(FromHfConfig(input=str(hf), output=f"{folder}/base"))
    with running_bucket() as bucket, running_hub(hf) as hub:
        variables = bucket.variables()
        os.environ.update(variables)
        # As codepmp_jax.files.storage does where the server is named when it is imported.
        fsspec.config.conf.setdefault("gcs", {})["token"] = "anon"
        for source, target in ((f"{folder}/pairs", "pairs"), (str(base), "base")):
            for name in storage.files(source):
                bucket.put(f"{target}/{name}", (pathlib.Path(source) / name).read_bytes())
        hub.status = 503
        pod = Pod(folder, num_hosts, num_steps, bucket, hub)
        yield pod
        pod.proxy.close()
        for name in variables:
            del os.environ[name]


def _write_seed(config: TrainConfig) -> None:
    """A run with one checkpoint, of random parameters."""
    checkpointer = Checkpointer(config.workdir, config.checkpoint)
    params = init_params(config.model, seed=1)
    checkpointer.save(1, params, None, [{}], presets.to_json(config))
    checkpointer.close()
    Tokenizer.load("embedded").save(f"{config.workdir}/tokenizer")
