"""Running ahead changes neither elements, nor states, nor where an error strikes."""

import gc
import itertools
import threading
import time

import pytest

from codepmp_jax.data.ahead import Ahead, StatefulIterator


class Count(StatefulIterator[int]):
    """0, 1, 2 ... that fails once at `failing` and ends before `end`."""

    def __init__(self, failing: int = -1, end: int = 1000):
        self.next, self.failing, self.end = 0, failing, end

    def __next__(self) -> int:
        if self.next == self.failing:
            self.failing = -1
            raise ValueError(f"no {self.next}")
        if self.next == self.end:
            raise StopIteration
        self.next += 1
        return self.next - 1

    def get_state(self) -> int:
        return self.next

    def set_state(self, state: int) -> None:
        self.next = state


def test_state_is_that_of_the_element_returned():
    source = Count()
    ahead = Ahead(source, 3)
    assert ahead.get_state() == 0
    for i in range(5):
        assert next(ahead) == i
        assert ahead.get_state() == i + 1
    while source.next < 9:
        time.sleep(0.01)
    assert ahead.get_state() == 5
    ahead.set_state(2)
    assert list(itertools.islice(ahead, 3)) == [2, 3, 4]
    ahead.stop()


def test_error_comes_in_its_place_and_can_be_overcome():
    ahead = Ahead(Count(failing=3), 2)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no 3"):
        next(ahead)
    assert next(ahead) == 3
    ahead.stop()


def test_end_is_the_end():
    ahead = Ahead(Count(end=3), 2)
    assert list(ahead) == [0, 1, 2]
    assert list(ahead) == []


def test_stop_ends_a_thread_that_waits_for_room():
    before = threading.active_count()
    ahead = Ahead(Count(), 1)
    next(ahead)
    assert threading.active_count() == before + 1
    ahead.stop()
    assert threading.active_count() == before
    del ahead
    gc.collect()
