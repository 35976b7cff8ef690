from __future__ import annotations

import os
import signal

import jax
import pytest

from codepmp_jax.cli.exit_codes import RESUME
from codepmp_jax.training import preemption
from codepmp_jax.training.preemption import Preempted, Preemption


def test_sigterm_is_a_notice_while_it_is_entered():
    with Preemption() as entered:
        assert not entered.noticed()
        os.kill(os.getpid(), signal.SIGTERM)
        assert entered.noticed()
        assert entered.noticed()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(SystemExit) as exited:
        raise Preempted
    assert exited.value.code == RESUME


def test_several_hosts_ask_the_coordination_service_by_the_number_of_the_call(monkeypatch):
    """Which must count on by one, and says yes once."""
    asked = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(
        preemption.multihost_utils,
        "reached_preemption_sync_point",
        lambda number: asked.append(number) or number == 3,
    )
    with Preemption() as entered:
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert [entered.noticed() for _ in range(5)] == [False, False, True, True, True]
    assert asked == [1, 2, 3, 4, 5]
