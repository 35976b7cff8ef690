"""A small run that went through, for the tests of what disturbs one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from codepmp_jax.config import CheckpointConfig, DataConfig, TrainConfig
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.training import loop
from tests.training.reference import tiny_config


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory) -> Iterator[None]:
    """Programs are compiled once, as those of a restart are; from here on, in all tests of a process."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> str:
    """40 training and 11 held-out pairs, some of them too long for the run."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)

    def code(words: int) -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x", "+", "1"], words))

    def make(number: int) -> list[PreferencePair]:
        rows = [(f"do {i}", code(6), code(40 if i % 7 == 3 else 6)) for i in range(number)]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(40), 2),
        "heldout": write_split(folder, "heldout", make(11), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return str(folder)


@pytest.fixture(scope="session")
def finished(pairs, compiled_once, tmp_path_factory) -> TrainConfig:
    """A run of six steps that went through."""
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("finished")),
        model__vocab_size=4096,
        data=DataConfig(input=pairs, template="{prompt}\n{response}", max_length=32),
        checkpoint=CheckpointConfig(every_steps=2, keep=10),
        global_batch_rows=8,
        num_steps=6,
        log_every_steps=1,
        eval_every_steps=4,
        eval_pairs=11,
    )
    loop.train(config)
    return config


@pytest.fixture
def copy(finished, tmp_path) -> TrainConfig:
    """The finished run in a folder that a test may damage."""
    workdir = tmp_path / "copy"
    shutil.copytree(finished.workdir, workdir)
    return dataclasses.replace(finished, workdir=str(workdir))
