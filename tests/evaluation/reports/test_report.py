import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ReportConfig, ResamplingConfig
from codepmp_jax.evaluation.reports.folders import Evaluation
from codepmp_jax.evaluation.reports.report import (
    DIFFERENCE,
    difference_table,
    find_differences,
    group_evaluations,
    run,
)
from codepmp_jax.evaluation.statistics.resampling import paired_differences

RESAMPLING = ResamplingConfig(num_resamples=200)


def accuracy(model, wins, path="", benchmark="pairs", subsets=None, items_id=None):
    """An evaluation of pairs: id -> win."""
    report = {"kind": "accuracy", "benchmark": benchmark, "model": model}
    report["items_id"] = items_id or ",".join(sorted(wins))
    values = {
        "pair_id": list(wins),
        "subset": [(subsets or {}).get(name, "") for name in wins],
        "win": [str(win) for win in wins.values()],
    }
    return Evaluation(path or model, report, values)


def best_of_n(model, solved, votes=True, benchmark="gsm8k"):
    """An evaluation of problems: id -> N -> solved."""
    rows = [(name, n, value) for name, values in solved.items() for n, value in values.items()]
    report = {"kind": "best_of_n", "benchmark": benchmark, "model": model}
    report |= {"items_id": ",".join(sorted(solved)), "rows": [{"n": 1}, {"n": 2}]}
    values = {
        "problem_id": [name for name, _, _ in rows],
        "subset": ["" for _ in rows],
        "n": [str(n) for _, n, _ in rows],
        "best_of_n": [str(value) for _, _, value in rows],
        "weighted_vote": [str(1 - value) if votes else "" for _, _, value in rows],
    }
    return Evaluation(model, report, values)


WINS = {str(i): float(i % 3 > 0) for i in range(30)}
OTHER = {str(i): float(i % 4 > 0) for i in reversed(range(30))}


def test_evaluations_are_grouped_by_kind_and_benchmark_in_their_order():
    solved = {"a": {1: 0.0, 2: 1.0}}
    groups = group_evaluations(
        [
            accuracy("x", WINS),
            best_of_n("x", solved),
            accuracy("y", OTHER),
            accuracy("x", WINS, benchmark="code"),
            best_of_n("y", solved),
        ]
    )
    assert [(group.kind, group.benchmark, list(group.models)) for group in groups] == [
        ("accuracy", "pairs", ["x", "y"]),
        ("best_of_n", "gsm8k", ["x", "y"]),
        ("accuracy", "code", ["x"]),
    ]


def test_names_are_given_by_input():
    evaluations = [accuracy("same", WINS), accuracy("same", OTHER)]
    (group,) = group_evaluations(evaluations, ["first", "second"])
    assert list(group.models) == ["first", "second"]


def test_two_models_of_one_name_are_refused():
    evaluations = [accuracy("hf", WINS, path="runs/a"), accuracy("hf", OTHER, path="runs/b")]
    with pytest.raises(UserError, match=r"runs/a and runs/b: both are accuracy of .*'hf'.*--names"):
        group_evaluations(evaluations)


def test_other_problems_of_the_same_benchmark_are_refused():
    fewer = {name: win for name, win in WINS.items() if name not in ("3", "4")} | {"new": 1.0}
    with pytest.raises(
        UserError,
        match=r"x and y: .*'pairs', but not of the same pairs \(2 only in the first, 1 only in the "
        r"second, 28 in both\)",
    ):
        group_evaluations([accuracy("x", WINS), accuracy("y", fewer)])
    with pytest.raises(UserError, match="with other candidates or judgements"):
        group_evaluations([accuracy("x", WINS), accuracy("y", WINS, items_id="other")])


def test_differences_are_of_the_same_items_in_any_order():
    subsets = {str(i): "even" if i % 2 == 0 else "odd" for i in range(30)}
    first, second = accuracy("x", WINS, subsets=subsets), accuracy("y", OTHER, subsets=subsets)
    (group,) = group_evaluations([first, second])
    rows = list(find_differences(group, RESAMPLING))
    assert [row["subset"] for row in rows] == ["all", "even", "odd"]
    for row in rows:
        assert set(row) == set(DIFFERENCE)
        names = sorted(name for name in WINS if row["subset"] in ("all", subsets[name]))
        ours, theirs = (np.array([[side[name]] for name in names]) for side in (WINS, OTHER))
        (expected,) = paired_differences(ours, theirs, num_resamples=200)
        assert row["difference"] == pytest.approx((theirs - ours).mean())
        assert (row["low"], row["high"]) == pytest.approx(expected.interval)
        assert row["p_value"] == expected.p_value
        assert (row["model"], row["first_model"], row["figure"]) == ("y", "x", "accuracy")


def test_differences_of_best_of_n_are_by_n():
    first = {"a": {1: 0.0, 2: 1.0}, "b": {1: 0.5, 2: 0.5}}
    second = {"b": {1: 1.0, 2: 0.5}, "a": {1: 0.5, 2: 0.0}}
    (group,) = group_evaluations([best_of_n("x", first), best_of_n("y", second)])
    found = {
        (row["figure"], row["n"]): row["difference"] for row in find_differences(group, RESAMPLING)
    }
    assert found == {
        ("best_of_n", 1): 0.5,
        ("weighted_vote", 1): -0.5,
        ("best_of_n", 2): -0.5,
        ("weighted_vote", 2): 0.5,
    }
    without = [best_of_n("x", first, votes=False), best_of_n("y", second, votes=False)]
    (group,) = group_evaluations(without)
    assert {row["figure"] for row in find_differences(group, RESAMPLING)} == {"best_of_n"}


def test_the_table_has_all_items_at_the_greatest_n_of_each_benchmark():
    subsets = {name: name[0] for name in WINS}
    long = [best_of_n(model, {"a": {1: 0.0, 2: 1.0}}) for model in "xy"]
    short = [best_of_n(model, {"a": {1: 0.0}}, benchmark="humaneval") for model in "xy"]
    for evaluation in short:
        evaluation.report["rows"] = [{"n": 1}]
    pairs = [accuracy(model, WINS, subsets=subsets) for model in "xy"]
    rows = [
        row
        for group in group_evaluations([*long, *short, *pairs])
        for row in find_differences(group, RESAMPLING)
    ]
    lines = difference_table(rows).splitlines()
    assert [line.split()[:5] for line in lines[2:]] == [
        ["y", "-", "x", "gsm8k", "best"],
        ["y", "-", "x", "gsm8k", "weighted"],
        ["y", "-", "x", "humaneval", "best"],
        ["y", "-", "x", "humaneval", "weighted"],
        ["y", "-", "x", "pairs", "accuracy"],
    ]
    assert [line.split()[7] for line in lines[2:-1] if "best of n" in line] == ["2", "1"]


def test_no_inputs_are_refused():
    with pytest.raises(UserError, match="must be at least one folder"):
        run(ReportConfig())
