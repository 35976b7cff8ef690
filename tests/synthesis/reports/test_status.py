"""The board shows what the workers wrote down."""

import json

from codepmp_jax.synthesis.reports.status import Board, Status, describe_rates


def row(worker, command, tokens, seconds=10.0, time=100.0):
    return {
        "worker": worker,
        "command": command,
        "sources": 1,
        "tokens": tokens,
        "seconds": seconds,
        "time": time,
    }


def test_rates_by_worker_and_in_all():
    rows = [row("a", "me", 7000), row("b", "me", 5000), row("c", "other", 20000)]
    assert describe_rates(rows[:1], "me", 100.0) == "700 tok/s"
    assert describe_rates(rows[:2], "me", 100.0) == "1,200 tok/s (a 700, b 500)"
    assert describe_rates(rows, "me", 100.0) == ("1,200 tok/s (a 700, b 500), all 3 workers 3,200")
    assert describe_rates([row("a", "me", 0)], "me", 100.0) == ""


def test_who_wrote_nothing_for_long_is_not_counted():
    assert describe_rates([row("a", "me", 7000), row("b", "me", 7000, time=-900)], "me", 100.0) == (
        "700 tok/s"
    )


def test_board_counts_its_own_workers_and_clears_up(tmp_path, capsys):
    other = Status(str(tmp_path), "other")
    other.worker = "other-1"
    other._path = tmp_path / "status" / "other-1.json"
    other.add(50, 10)
    with Board(str(tmp_path), "me", "describe", num_sources=100, num_done=20):
        Status(str(tmp_path), "me").add(30, 600)
        (written,) = (path for path in (tmp_path / "status").iterdir() if "other" not in path.name)
        assert json.loads(written.read_text())["sources"] == 30
    shown = capsys.readouterr().err
    assert "describe" in shown
    assert "50/100" in shown
    assert "tok/s" in shown
    assert [path.name for path in (tmp_path / "status").iterdir()] == ["other-1.json"]
