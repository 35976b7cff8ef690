from __future__ import annotations

import json
import logging

import pytest

from codepmp_jax.data.packing import COUNTS
from codepmp_jax.training.feed import FetchedBatch
from codepmp_jax.training.spikes import LossHistory
from codepmp_jax.training.window import ResumeState, Window
from tests.training.reference import tiny_config


def counts(number: int) -> dict[str, int]:
    """Of `number` steps of ten tokens, eight of which are useful."""
    return dict.fromkeys(COUNTS, 8 * number) | {"padded_tokens": 10 * number}


@pytest.fixture
def window() -> Window:
    """Steps 21 to 23, the second of which is a spike."""
    window = Window()
    for step, loss in ((21, 1.0), (22, 5.0), (23, 1.0)):
        fed = FetchedBatch([], counts(step), [], [], waited=0.0)
        window.add(step, {"loss": loss, "grad_norm": 1.0}, fed)
    return window


def test_a_spike_is_told_and_measured(window, caplog):
    resume_state = ResumeState(LossHistory([0.9, 1.0, 1.1] * 10))
    with caplog.at_level(logging.WARNING, "codepmp_jax"):
        rows = window.rows(tiny_config(), resume_state, counts(20))
    assert [record.getMessage()[:28] for record in caplog.records] == [
        "step 22: loss spike: 5.0000 "
    ]
    assert [row["loss_deviation"] > 8 for row in rows] == [False, True, False]
    assert resume_state.losses.to_json()[-3:] == [1.0, 5.0, 1.0]


def test_only_speeds_measure_time(window):
    """What repeats is told apart by its name."""
    rows = window.rows(tiny_config(), ResumeState(), counts(20))
    assert window.after == counts(23)
    assert [row["fill"] for row in rows] == pytest.approx([0.8] * 3)
    timed = {name for name in rows[0] if name.startswith("speed/")}
    assert {"speed/pairs_per_second", "speed/data_wait", "speed/mfu"} <= timed
    assert not any("second" in name or "wait" in name for name in {*rows[0]} - timed)


def test_what_is_carried_comes_back_from_json():
    resume_state = ResumeState(LossHistory([1.0, 0.5]), 3, {"step": 7, "loss": 0.1})
    again = ResumeState.from_json(json.loads(json.dumps(resume_state.to_json())))
    assert again.to_json() == resume_state.to_json()
