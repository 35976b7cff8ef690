from __future__ import annotations

import json

import jax
import pytest

from codepmp_jax.cli.errors import StoreError, UserError, WorkerLostError
from codepmp_jax.devices import together as module
from codepmp_jax.devices.together import together


@pytest.fixture
def with_hosts(monkeypatch):
    """Makes this process host 0, and the others say what is given."""

    def gather(*others: dict):
        monkeypatch.setattr(jax, "process_count", lambda: 1 + len(others))
        monkeypatch.setattr(module, "_gathered", lambda own: json.loads(json.dumps([own, *others])))

    return gather


def test_values_come_in_the_order_of_hosts(with_hosts):
    with_hosts({"value": [2]}, {"value": None})
    assert together(lambda: [1]) == [[1], [2], None]


@pytest.mark.parametrize("kind", [UserError, StoreError, WorkerLostError])
def test_the_error_of_one_host_is_that_of_all(with_hosts, kind):
    """With its exit status, so that all end alike."""
    told = {"error": "pairs: no such folder.", "status": kind.status}
    with_hosts({"value": {}}, told, {"error": "later", "status": 2})
    with pytest.raises(kind, match=r"^host 2: pairs: no such folder") as raised:
        together(dict)
    assert type(raised.value) is kind


@pytest.mark.parametrize("kind", [UserError, StoreError, WorkerLostError])
def test_this_hosts_own_error_is_told_to_the_others(monkeypatch, kind):
    told = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(module, "_gathered", lambda own: told.append(own) or [own, {"value": 1}])

    def wrong():
        raise kind("pairs: no such folder.")

    with pytest.raises(kind, match=r"^host 0: pairs"):
        together(wrong)
    assert told == [{"error": "pairs: no such folder.", "status": kind.status}]


def test_alone_an_error_is_told_as_it_is():
    def wrong():
        raise UserError("pairs: no such folder.")

    assert together(lambda: {"a": 1}) == [{"a": 1}]
    with pytest.raises(UserError, match=r"^pairs: no such folder"):
        together(wrong)


def test_what_all_hosts_say_alike_travels_as_a_digest(monkeypatch):
    """And what differs travels whole."""
    sent: list[object] = []

    def gather(own: object, other: object) -> list[object]:
        sent.append(own)
        return [own, other]

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(module, "gather", lambda own: gather(own, own))
    assert together(lambda: ["a"]) == [["a"], ["a"]]
    assert [len(str(one)) for one in sent] == [64]
    others = iter(["another digest", {"value": ["b"]}])
    monkeypatch.setattr(module, "gather", lambda own: gather(own, next(others)))
    assert together(lambda: ["a"]) == [["a"], ["b"]]
    assert sent[2] == {"value": ["a"]}
