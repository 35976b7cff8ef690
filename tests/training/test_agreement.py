from __future__ import annotations

import dataclasses
import json

import jax
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.devices import together
from codepmp_jax.training import agreement
from codepmp_jax.training.agreement import code_version, facts_of, require_same_on_all_hosts
from tests.training.reference import tiny_config


@pytest.fixture
def with_hosts(monkeypatch):
    """Makes this process host 0, and the given facts those of the others."""

    def gather(*others: dict):
        monkeypatch.setattr(jax, "process_count", lambda: 1 + len(others))
        monkeypatch.setattr(
            together, "_gathered", lambda own: json.loads(json.dumps([own, *others]))
        )

    return gather


def test_hosts_with_the_same_command_agree(with_hosts):
    """Wherever each of them finds the data."""
    config = tiny_config(compiler_options=("xla_a=1",))
    elsewhere = dataclasses.replace(config, data=DataConfig(input="/mnt/b", max_length=24))
    with_hosts({"value": facts_of(elsewhere, shards=["a"])})
    require_same_on_all_hosts(lambda: facts_of(config, shards=["a"]))


def test_what_differs_is_named_with_the_hosts(with_hosts):
    config = tiny_config()
    others = [dataclasses.replace(config, seed=seed) for seed in (0, 1, 1)]
    with_hosts(
        *({"value": facts_of(other, shards=[str(other.seed)]) | {"jax": "9"}} for other in others)
    )
    with pytest.raises(UserError, match="the hosts differ") as raised:
        require_same_on_all_hosts(lambda: facts_of(config, shards=["0"]))
    for part in (
        "seed = 1 on host 2, 3, 0 on host 0",
        "shards = ['1'] on host 2, 3, ['0'] on host 0",
        f"jax = '9' on host 1, 2, 3, '{jax.__version__}' on host 0",
    ):
        assert part in str(raised.value)


def test_another_source_is_another_version(monkeypatch, tmp_path):
    before = code_version()
    assert before == code_version()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(agreement.codepmp_jax, "__file__", str(tmp_path / "__init__.py"))
    assert code_version()["codepmp_jax"] != before["codepmp_jax"]
