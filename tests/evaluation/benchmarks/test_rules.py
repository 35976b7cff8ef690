"""Each benchmark's rule gives what its authors' code gave for the same made-up rewards."""

from __future__ import annotations

import json

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import BenchmarkConfig
from codepmp_jax.evaluation.benchmarks.rewardbench import SECTIONS
from codepmp_jax.evaluation.benchmarks.run import RULES, apply_rule, run
from codepmp_jax.records.schema import Problem, Score
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.common.row import Row


def scored(task: str, rows, rewards):
    """(problems, scores) of published rows with these rewards of their responses."""
    make = find_task(task, "task").make_problem
    assert make is not None
    problems = [make(Row(row), number) for number, row in enumerate(rows)]
    scores = [
        Score(problem.problem_id, index, float(reward))
        for problem, own in zip(problems, rewards, strict=True)
        for index, reward in enumerate(own)
    ]
    return problems, scores


def table(task: str, rows, rewards):
    """Group -> its figures."""
    result = apply_rule(*scored(task, rows, rewards))
    assert all(len(figures) == len(result.figures) for _, _, figures in result.rows)
    return {group: figures for group, _, figures in result.rows}


def made_up():
    """Rewards of RewardBench 2 (id, subset, number of correct ones, rewards) and RM-Bench (id, domain, rewards); with
    one decimal, so that some are equal."""
    generator = np.random.default_rng(7)

    def draw(size):
        return np.round(generator.normal(size=size), 1)

    second = [
        (f"{i}", ["Factuality", "Math", "Safety"][i % 3], 1, draw(4).tolist()) for i in range(40)
    ]
    for i in range(12):
        num_right, num_wrong = int(generator.integers(2, 5)), int(generator.integers(2, 6))
        right = draw(num_right) * (0.3 if i % 2 else 1.0) + 1.5
        if i % 5 == 0:
            right[:] = right[0]
        tied = np.round(np.concatenate([right, draw(num_wrong)]), 2)
        second.append((f"tied:{i}", "Ties", num_right, tied.tolist()))
        single = np.round(np.concatenate([[1.0], draw(num_wrong)]), 2)
        second.append((f"ref:{i}", "Ties", 1, single.tolist()))
    domains = ["chat", "code", "math", "safety-refuse", "safety-response"]
    styles = [(f"{i}", domains[i % 5], [*draw(3), *draw(3)]) for i in range(35)]
    return second, styles


def test_rewardbench_2_as_its_authors_score_it():
    """Expected: reroll_and_score_dataset and process_single_model of allenai/reward-bench."""
    second, _ = made_up()
    rows = [
        {
            "id": name,
            "prompt": "p",
            "chosen": [f"right {i}" for i in range(num_right)],
            "rejected": [f"wrong {i}" for i in range(len(rewards) - num_right)],
            "subset": subset,
        }
        for name, subset, num_right, rewards in second
    ]
    found = table("rewardbench2", rows, [rewards for *_, rewards in second])
    expected = {
        "Factuality": 0.21428571428571427,
        "Math": 0.2564102564102564,
        "Safety": 0.15384615384615385,
        "Ties": 0.47811011641831125,
    }
    for name, value in expected.items():
        assert found[name] == [pytest.approx(value, abs=1e-12)]
    assert found["mean of domains"] == [pytest.approx(np.mean(list(expected.values())))]


def test_ties_need_both_rows_of_a_question():
    rows = [
        {"id": name, "prompt": "p", "chosen": ["a"], "rejected": ["b"], "subset": "Ties"}
        for name in ("tied:1", "ref:2")
    ]
    with pytest.raises(UserError, match=r"one row only = \['1', '2'\]"):
        table("rewardbench2", rows, [[1, 0], [1, 0]])


def test_rm_bench_as_its_authors_score_it():
    """Expected: compute_accuracy of THU-KEG/RM-Bench (hard, normal, easy)."""
    _, styles = made_up()
    rows = [
        {
            "id": name,
            "prompt": "p",
            "chosen": ["a", "b", "c"],
            "rejected": ["d", "e", "f"],
            "domain": domain,
        }
        for name, domain, _ in styles
    ]
    found = table("rm_bench", rows, [rewards for *_, rewards in styles])
    expected = {
        "chat": (3 / 7, 10 / 21, 10 / 21),
        "code": (4 / 7, 3 / 7, 1 / 3),
        "math": (2 / 3, 3 / 7, 3 / 7),
        "safety-refuse": (2 / 7, 4 / 21, 4 / 21),
        "safety-response": (8 / 21, 4 / 21, 2 / 7),
        "all together": (7 / 15, 12 / 35, 12 / 35),
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx([np.mean(values), *values])
    safety = np.mean([found["safety-refuse"], found["safety-response"]], axis=0)
    assert found["safety"] == pytest.approx(safety)
    domains = [found[name] for name in ("chat", "code", "math", "safety")]
    assert found["mean of domains"] == pytest.approx(np.mean(domains, axis=0))


def test_rm_bench_styles_are_told_apart():
    """A model that likes long answers wins the easy comparisons only."""
    row = {"id": "1", "prompt": "p", "chosen": list("abc"), "rejected": list("def"), "domain": "x"}
    assert table("rm_bench", [row], [[1, 2, 3, 1, 2, 3]])["x"] == pytest.approx([1 / 3, 0, 0, 1])
    assert table("rm_bench", [row], [[1, 2, 3, 0.5, 1.5, 2.5]])["x"][1:] == pytest.approx([0, 1, 1])


def test_rewardbench_sections_are_weighted_as_published():
    """calculate_scores_per_section of allenai/reward-bench: by published sizes, whatever is in the file."""
    wins = {"math-prm": [1, 0], "hep-python": [1, 1], "hep-rust": [0], "mt-bench-hard": [1, 1, 0]}
    rows, rewards = [], []
    for subset, results in wins.items():
        for win in results:
            rows.append(
                {"id": len(rows), "prompt": "p", "chosen": "c", "rejected": "", "subset": subset}
            )
            rewards.append([win, 0])  # equal rewards are not won
    found = table("rewardbench", rows, rewards)
    reasoning = (984 * 0.5 + 164 * 1 + 164 * 0) / (984 + 2 * 164)
    assert found["Reasoning"] == [pytest.approx(reasoning)]
    assert found["Chat Hard"] == [pytest.approx(2 / 3)]
    assert found["mean of sections"] == [pytest.approx((reasoning + 2 / 3) / 2)]
    sizes = {section: sum(weights.values()) for section, weights in SECTIONS.items()}
    assert sizes == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968}
    with pytest.raises(UserError, match=r"subset = 'anthropic_hhh': must be one of"):
        table("rewardbench", [rows[0] | {"subset": "anthropic_hhh"}], [[1, 0]])


def test_judgebench_judges_each_pair_once():
    """Equal rewards are the verdict B>A, as in its authors' judges."""
    sources = ["mmlu-pro-law", "mmlu-pro-math", "livebench-math", "livecodebench"]
    rows = [
        {
            "pair_id": f"{number}{label}",
            "question": "q",
            "response_A": "a",
            "response_B": "b",
            "label": label,
            "source": source,
        }
        for number, source in enumerate(sources)
        for label in ("A>B", "B>A")
    ]
    rewards = [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1], [2, 0], [0, 2]]
    found = table("judgebench", rows, rewards)
    assert found == {"coding": [1.0], "knowledge": [0.5], "math": [0.5], "all": [0.625]}


def test_ppe_leaves_out_ties_of_people():
    battles = [
        ("model_a", "en"),
        ("model_b", "en"),
        ("tie", "en"),
        ("tie (bothbad)", "de"),
        ("model_b", "de"),
    ]
    rows = [
        {
            "question_id": str(number),
            "prompt": "p",
            "response_1": "a",
            "response_2": "",
            "winner": winner,
            "language": language,
        }
        for number, (winner, language) in enumerate(battles)
    ]
    found = table("ppe_preference", rows, [[1, 0], [1, 0], [1, 0], [1, 0], [2, 2]])
    assert found == {"de": [0.5], "en": [0.5], "all": [0.5]}
    with pytest.raises(UserError, match="battles with a winner"):
        table("ppe_preference", rows[2:4], [[1, 0], [1, 0]])


def test_ppe_curves_are_expectations_over_subsets():
    row = {
        "question_id": "1",
        "prompt": "p",
        **{f"response_{i}": f"r{i}" for i in range(1, 5)},
        "scores": [True, False, False, True],
        "sampled_conflict_pairs": [[0, 1], [2, 3], [1, 3]],
        "model_name": "m",
    }
    found = table("ppe_math", [row], [[4.0, 3.0, 2.0, 1.0]])["m"]
    # Of two: right where the first is drawn (3 of 6 pairs); of the other three pairs the better one is always wrong.
    assert found == pytest.approx([1 / 3, 1.0, 0.5, 0.5, 1.0])


@pytest.mark.parametrize("task", RULES)
def test_every_rule_is_of_a_task(task):
    assert find_task(task, "task").hub


def test_the_command_writes_and_prints_the_table(tmp_path, capsys):
    rows = [
        {
            "pair_id": str(number),
            "question": "q",
            "response_A": "a",
            "response_B": "b",
            "label": "A>B",
            "source": "livecodebench",
        }
        for number in range(3)
    ]
    problems, scores = scored("judgebench", rows, [[1, 0], [0, 1], [3, 2]])
    (tmp_path / "problems.jsonl").write_text("".join(f"{p.to_json()}\n" for p in problems))
    lines = [{"item_id": s.item_id, "index": s.index, "reward": s.reward} for s in scores]
    (tmp_path / "scores.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines[:4]))
    meta = {"model": "tiny", "refused": {problems[2].problem_id: "why"}}
    (tmp_path / "scores.meta.json").write_text(json.dumps(meta))
    config = BenchmarkConfig(
        candidates=str(tmp_path / "problems.jsonl"),
        scores=str(tmp_path / "scores.jsonl"),
        output=str(tmp_path / "out"),
    )
    run(config)
    out = capsys.readouterr().out
    assert "1 problems are left out" in out
    assert out.splitlines()[-1] == f"judgebench 50.0: {config.output}"
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["score"], report["model"], report["num_refused"]) == (0.5, "tiny", 1)
    assert (tmp_path / "out/benchmark.csv").read_text() == (
        "group,number,accuracy\ncoding,2,0.5\nall,2,0.5\n"
    )
    with pytest.raises(UserError, match="task of the problems = 'gsm8k': must be one of"):
        apply_rule([Problem("1", "p", task="gsm8k")], [])
