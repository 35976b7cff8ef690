from __future__ import annotations

import httpx2
import pytest
from huggingface_hub import constants, errors

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.files import hub


def answer(
    status: int, kind: type[errors.HfHubHTTPError] = errors.HfHubHTTPError, **headers: str
) -> Exception:
    request = httpx2.Request("GET", "https://huggingface.co/api/models/owner/name")
    response = httpx2.Response(
        status, request=request, headers={name.replace("_", "-"): headers[name] for name in headers}
    )
    return kind(f"{status} said the server", response=response)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """What is waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr(hub.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("503 Service Unavailable"),
        TimeoutError("timed out"),
        httpx2.ConnectError("no route"),
        httpx2.ReadTimeout("slow"),
        answer(500),
        answer(503),
        answer(429),
        errors.LocalEntryNotFoundError("not in the cache, and no connection"),
        OSError("connection reset"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_asked_again(error, waits):
    """And is no mistake: a supervisor starts the command again."""
    asked = []

    def down():
        asked.append(error)
        raise error

    with pytest.raises(StoreError, match=r"model = 'a/b': .*cannot be reached") as raised:
        hub.fetch(down, "model = 'a/b'", "give a folder")
    assert raised.value.status == StoreError.status != UserError.status
    assert len(asked) == 1 + len(hub.WAITS)
    assert waits == list(hub.WAITS)


@pytest.mark.parametrize(
    "error",
    [
        answer(404, errors.RepositoryNotFoundError),
        answer(404, errors.RevisionNotFoundError),
        answer(403, errors.GatedRepoError),
        answer(401),
        errors.HFValidationError("runs/no/such/folder: no such name"),
    ],
)
def test_what_the_hub_does_not_have_is_a_mistake(error, waits):
    def no():
        raise error

    with pytest.raises(UserError, match=r"does not give it .*Remedy: give a folder") as raised:
        hub.fetch(no, "model = 'a/b'", "give a folder")
    assert not isinstance(raised.value, StoreError)
    assert waits == []


def test_a_hub_that_may_not_be_asked_is_a_mistake(monkeypatch, waits):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def no():
        raise errors.LocalEntryNotFoundError("offline")

    with pytest.raises(UserError, match="offline") as raised:
        hub.fetch(no, "model = 'a/b'", "give a folder")
    assert not isinstance(raised.value, StoreError)


def test_a_hub_that_comes_back_is_fine(waits):
    said = iter([ConnectionError("503"), ConnectionError("503"), None])

    def sometimes() -> str:
        error = next(said)
        if error is not None:
            raise error
        return "folder"

    assert hub.fetch(sometimes, "model = 'a/b'", "give a folder") == "folder"
    assert waits == list(hub.WAITS[:2])


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"ratelimit": '"api";r=0;t=55'}, 56.0),
        ({"ratelimit": '"api";r=3;t=55'}, 1.0),
        ({"ratelimit": '"api";r=0;t=99999'}, 330.0),
        ({"retry_after": "7"}, 7.0),
    ],
)
@pytest.mark.parametrize("is_cause", [False, True])
def test_a_limit_of_requests_is_waited_for(said, seconds, is_cause, waits):
    """Also where the hub's client raises another error because of it."""
    limited = [answer(429, **said)]

    def once() -> str:
        if not limited:
            return "folder"
        error = limited.pop()
        if is_cause:
            raise errors.LocalEntryNotFoundError("not in the cache, and no connection") from error
        raise error

    assert hub.fetch(once, "model = 'a/b'", "give a folder") == "folder"
    assert waits == [seconds]
