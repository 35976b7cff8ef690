"""Pauses of a server that limits its rate, on a clock of the test's own."""

import email.utils
import math
import time

import pytest

from codepmp_jax.synthesis.writers import rate_limit
from codepmp_jax.synthesis.writers.rate_limit import RateLimit, seconds_asked


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(rate_limit.random, "random", lambda: 0.0)
    return Clock


def test_pauses_double_up_to_a_minute_and_end_with_an_answer(clock):
    limit = RateLimit()
    pauses = []
    for _ in range(9):
        sent = limit.take()
        pauses.append(limit.refused(sent, None, 1e9))
        assert limit.delay() == pauses[-1]
        clock.now += pauses[-1]
        assert limit.delay() == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    limit.ended(limit.take(), is_answer=True)
    assert limit.refused(limit.take(), None, 1e9) == 1


def test_after_a_pause_one_request_goes_and_the_others_wait_for_its_end(clock):
    limit = RateLimit()
    first, second, third = limit.take(), limit.take(), limit.take()
    assert limit.refused(first, 5.0, 1e9) == 5
    # What was sent before the pause begins no other one, and its answer does not end it.
    assert limit.refused(second, None, 1e9) == 0
    limit.ended(third, is_answer=True)
    assert limit.delay() == 5
    clock.now += 5
    probe = limit.take()
    assert limit.delay() == math.inf
    limit.ended(probe, is_answer=False)
    assert limit.delay() == 0
    probe = limit.take()
    limit.ended(probe, is_answer=True)
    limit.take()
    assert limit.delay() == 0


def test_a_server_is_given_up_after_the_longest_wait(clock):
    limit = RateLimit()
    assert limit.refused(limit.take(), None, 0.0) is None
    waited = 0.0
    while (pause := limit.refused(limit.take(), None, 300.0)) is not None:
        waited += pause
        clock.now += pause
    assert 240 < waited <= 300
    assert RateLimit().refused(clock.now, 86400.0, 3600.0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    assert seconds_asked(headers) == seconds


def test_a_date_to_wait_for():
    asked = seconds_asked({"retry-after": email.utils.formatdate(time.time() + 100, usegmt=True)})
    assert asked is not None
    assert 97 < asked < 101
