"""A small corpus of real code: some packages of the standard library."""

import pathlib
import shutil
import sysconfig

import pytest

from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.build import build_corpus
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import ShardedDataset


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("synthesis")
    stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
    for package in ("json", "http", "urllib", "concurrent", "html"):
        shutil.copytree(stdlib / package, folder / "code" / package)
    build_corpus(
        CorpusConfig(
            input=str(folder / "code"),
            output=str(folder / "corpus"),
            max_chars=160,
            heldout_fraction=0.3,
            num_shards=2,
            seed=3,
        )
    )
    return folder / "corpus"


@pytest.fixture(scope="session")
def train(corpus) -> list[SourceFile]:
    return list(ShardedDataset(corpus, SourceFile, "train"))


@pytest.fixture(scope="session")
def heldout(corpus) -> list[SourceFile]:
    return list(ShardedDataset(corpus, SourceFile, "heldout"))
