from __future__ import annotations

import threading
import time

import pytest

from codepmp_jax.training.background import Background


def test_calls_are_made_in_order_and_nobody_waits_for_them():
    background, may_go, made = Background(), threading.Event(), []
    background.run(may_go.wait)
    for number in range(5):
        background.run(made.append, number)
    assert not background.is_idle
    assert made == []
    may_go.set()
    background.wait()
    assert background.is_idle
    background.run(made.append, 5)
    background.close()
    assert made == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("ending", ["wait", "close"])
def test_what_a_call_raises_is_raised_once_by_a_later_one(ending):
    background, may_go, made = Background(), threading.Event(), []
    background.run(may_go.wait)
    background.run(int, "seven")
    background.run(made.append, 1)
    may_go.set()
    with pytest.raises(ValueError, match="seven"):
        getattr(background, ending)()
    background.close()
    assert made == [1]


def test_a_call_after_one_that_failed_raises():
    background = Background()
    background.run(int, "seven")
    while not background.is_idle:
        time.sleep(0.001)
    with pytest.raises(ValueError, match="seven"):
        background.run(int)
    background.close()
