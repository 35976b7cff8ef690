"""Best-of-N from scores: how often the highest-scored of N candidates is a correct one.

P problems, C values of N: 1, 2, 4, ... up to the smallest number of candidates of a problem.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import BestOfNConfig, ResamplingConfig, VotesConfig, presets
from codepmp_jax.evaluation.items import read_candidates
from codepmp_jax.evaluation.reports import folders, plots
from codepmp_jax.evaluation.reports.tables import format_table, percent, percent_interval
from codepmp_jax.evaluation.scores import by_item, without_refused
from codepmp_jax.evaluation.statistics import estimators, votes
from codepmp_jax.evaluation.statistics.resampling import percentile_interval, resampled_means
from codepmp_jax.records.schema import Problem, Score, content_id
from codepmp_jax.records.scores import read_scores

VOTES = ("majority_vote", "weighted_vote")
ESTIMATORS = ("best_of_n", "first_n", *VOTES, "random", "oracle")


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What each estimator gives for each problem and N."""

    problem_ids: list[str]
    subsets: np.ndarray
    n: list[int]
    values: dict[str, np.ndarray]
    """Estimator -> [P C]."""
    errors: dict[str, np.ndarray]
    """Vote -> standard error of its Monte Carlo draw, [P C]."""
    facts: dict[str, Any]
    """What the report says of the problems and candidates."""


def find_outcomes(
    problems: Sequence[Problem], scores: Sequence[Score], config: VotesConfig
) -> Outcomes:
    """The outcomes of `scores` over judged problems.

    Raises UserError where a candidate has no score or no judgement, and where no candidate is correct.
    """
    require(len(problems) > 0, "problems", 0, "must be at least one", "give a file with candidates")
    found = by_item(scores)
    judged = [(_rewards(problem, found), _judgements(problem)) for problem in problems]
    sizes = [len(correct) for _, correct in judged]
    require(
        any(correct.any() for _, correct in judged),
        "problems",
        len(problems),
        "must hold a correct candidate somewhere",
        "Best-of-N of wrong candidates is 0 for every model",
    )
    n = [2**power for power in range(min(sizes).bit_length())]
    no_votes = _why_no_votes(problems)
    names = [name for name in ESTIMATORS if no_votes is None or name not in VOTES]
    values = {name: np.zeros((len(problems), len(n))) for name in names}
    errors = {name: np.zeros((len(problems), len(n))) for name in VOTES if name in names}
    rows = zip(problems, judged, strict=True)
    for row, (problem, (rewards, correct)) in enumerate(
        progress(rows, total=len(problems), desc="Best-of-N", unit="problem")
    ):
        values["random"][row] = correct.mean()
        for column, size in enumerate(n):
            values["best_of_n"][row, column] = estimators.best_of_n(rewards, correct, size)
            values["first_n"][row, column] = estimators.first_n(rewards, correct, size)
            values["oracle"][row, column] = estimators.pass_at_n(correct, size)
        if no_votes is None:
            for name, expectations in _votes(problem, rewards, correct, n, config).items():
                values[name][row], errors[name][row] = np.array(expectations).T
    unanswered = sum(c.answer is None for problem in problems for c in problem.candidates)
    return Outcomes(
        problem_ids=[problem.problem_id for problem in problems],
        subsets=np.array([problem.subset for problem in problems]),
        n=n,
        values=values,
        errors=errors,
        facts={
            "items_id": content_id(
                *sorted(
                    json.dumps(
                        [problem.problem_id, [(c.is_correct, c.answer) for c in problem.candidates]]
                    )
                    for problem in problems
                )
            ),
            "num_candidates": min(sizes),
            "most_candidates": max(sizes),
            "num_without_answer": unanswered,
            "num_contradictions": sum(map(_is_contradictory, problems)),
            "num_unused_scores": len(scores) - sum(sizes),
            "no_votes_because": no_votes,
            "vote_draws": config.num_draws,
            "vote_temperature": config.temperature,
        },
    )


def _rewards(problem: Problem, found: Callable[[str, int], Score]) -> np.ndarray:
    indices = range(len(problem.candidates))
    return np.array([found(problem.problem_id, index).reward for index in indices], np.float64)


def _judgements(problem: Problem) -> np.ndarray:
    correct = [candidate.is_correct for candidate in problem.candidates]
    where = f"problem {problem.problem_id}"
    require(len(correct) > 0, f"{where}: candidates", 0, "must be at least one", "leave it out")
    for index, candidate in enumerate(problem.candidates):
        require(
            isinstance(candidate.is_correct, bool),
            f"{where}: is_correct of candidate {index}",
            candidate.is_correct,
            "must be true or false",
            "judge the candidates first, with `launch/evaluate.py judge`",
        )
        require(
            candidate.answer is None or isinstance(candidate.answer, str),
            f"{where}: answer of candidate {index}",
            candidate.answer,
            "must be a string or null",
            "write equal answers as equal strings",
        )
    return np.array(correct, bool)


def _why_no_votes(problems: Sequence[Problem]) -> str | None:
    """Why votes do not apply to these problems; None where they do."""
    answered = dict.fromkeys(sorted({problem.task for problem in problems}), False)
    for problem in problems:
        answered[problem.task] |= any(c.answer is not None for c in problem.candidates)
    silent = [task for task, is_answered in answered.items() if not is_answered]
    if not silent:
        return None
    return f"no candidate of {', '.join(task or 'these problems' for task in silent)} has an answer"


def _is_contradictory(problem: Problem) -> bool:
    """Whether equal answers are judged differently."""
    judged = {(c.answer, c.is_correct) for c in problem.candidates if c.answer is not None}
    return len(judged) > len({answer for answer, _ in judged})


def _votes(
    problem: Problem, rewards: np.ndarray, correct: np.ndarray, n: list[int], config: VotesConfig
) -> dict[str, list[votes.Expectation]]:
    answers = votes.number_answers([candidate.answer for candidate in problem.candidates])
    # A stream for each problem, independent of the rest of the file: models are compared on equal draws.
    seed = (config.seed, zlib.crc32(problem.problem_id.encode()))
    orders = votes.random_orders(len(rewards), config.num_draws, seed)
    subsets = [votes.draw_subsets(orders, size) for size in n]
    return {
        name: [votes.vote(rewards, answers, correct, drawn, temperature) for drawn in subsets]
        for name, temperature in zip(VOTES, (np.inf, config.temperature), strict=True)
    }


# --- report ---------------------------------------------------------------------------------------


def best_of_n_report(
    problems: Sequence[Problem],
    scores: Sequence[Score],
    config: BestOfNConfig = BestOfNConfig(),
) -> dict[str, Any]:
    """Best-of-N of `scores` over `problems`, as JSON values; `rows` holds N = 1, 2, 4, ...

    Of N candidates drawn from a problem's M, averaged over all draws and over problems (intervals: 95 %
    bootstrap over problems):

    - `best_of_n`: the highest-scored one is correct; `first_n`: that of the first N in the file's order;
    - `majority_vote`: the most frequent answer is correct; `weighted_vote`: that of the greatest sum of
      softmax(reward / temperature); null where candidates have no answers. `_standard_error` is that of
      their Monte Carlo draw, 0 where every subset was counted;
    - `random`: a random one is correct; `oracle`: a correct one is among them;
    - `selection_accuracy`: best_of_n / oracle, the highest-scored one is correct given that a correct
      one is among them. With one correct candidate a problem it is the rate at which that one beats
      N - 1 wrong ones; `selection_random` is the rate of a random pick. Null where none is correct.

    N runs to the smallest number of candidates of a problem, `num_candidates`; a problem with more is
    averaged over all of its own. `subsets` holds the rows of each subset, where there are several. Raises
    UserError where a candidate has no score or no judgement.
    """
    return _make_report(find_outcomes(problems, scores, config.votes), config.resampling)


def _make_report(outcomes: Outcomes, resampling: ResamplingConfig) -> dict[str, Any]:
    everything = np.ones(len(outcomes.problem_ids), bool)
    report = {
        "kind": "best_of_n",
        "num_problems": len(outcomes.problem_ids),
        **outcomes.facts,
        "rows": _rows(outcomes, everything, resampling),
    }
    subsets = np.unique(outcomes.subsets)
    if len(subsets) > 1:
        report["subsets"] = {
            str(name) or "unnamed": {
                "num_problems": int((outcomes.subsets == name).sum()),
                "rows": _rows(outcomes, outcomes.subsets == name, resampling),
            }
            for name in subsets
        }
    return report


def _rows(
    outcomes: Outcomes, held: np.ndarray, resampling: ResamplingConfig
) -> list[dict[str, Any]]:
    """A row an N, of the problems where `held` [P] is true."""
    values = {name: array[held] for name, array in outcomes.values.items()}
    num_problems = int(held.sum())
    columns = np.concatenate(list(values.values()), 1)
    samples = resampled_means(columns, resampling.num_resamples, resampling.seed)
    resampled = dict(zip(values, np.split(samples, len(values), 1), strict=True))
    rows = []
    for column, n in enumerate(outcomes.n):
        row: dict[str, Any] = {"n": n}
        for name in ESTIMATORS:
            applies = name in values
            row[name] = float(values[name][:, column].mean()) if applies else None
            interval = list(percentile_interval(resampled[name][:, column])) if applies else None
            row[f"{name}_interval"] = interval
        for name, errors in outcomes.errors.items():
            square = (errors[held][:, column] ** 2).sum()
            row[f"{name}_standard_error"] = float(np.sqrt(square) / num_problems)
        best, oracle = resampled["best_of_n"][:, column], resampled["oracle"][:, column]
        some = oracle > 0
        can = row["oracle"] > 0 and bool(some.any())
        row["selection_accuracy"] = row["best_of_n"] / row["oracle"] if can else None
        row["selection_accuracy_interval"] = (
            list(percentile_interval(best[some] / oracle[some])) if can else None
        )
        row["selection_random"] = row["random"] / row["oracle"] if can else None
        rows.append(row)
    return rows


# --- output ---------------------------------------------------------------------------------------


def best_of_n_table(report: dict[str, Any]) -> str:
    """The report as a table: a line an N."""
    return format_table(
        (
            "N",
            "best of N",
            "95 % interval",
            "first N",
            "majority",
            "weighted",
            "random",
            "oracle",
            "selection accuracy",
            "95 % interval",
            "random pick",
        ),
        [
            (
                str(row["n"]),
                percent(row["best_of_n"]),
                percent_interval(row["best_of_n_interval"]),
                *(percent(row[name]) for name in ("first_n", *VOTES, "random", "oracle")),
                percent(row["selection_accuracy"]),
                percent_interval(row["selection_accuracy_interval"]),
                percent(row["selection_random"]),
            )
            for row in report["rows"]
        ],
    )


FIGURES = (
    *(f"{name}{end}" for name in ESTIMATORS for end in ("", "_low", "_high")),
    *(f"{name}_standard_error" for name in VOTES),
    "selection_accuracy",
    "selection_accuracy_low",
    "selection_accuracy_high",
    "selection_random",
)


def figure_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Subset, number of problems, N and FIGURES of all problems, and of each subset; None where one does
    not apply."""
    for subset, part in (("all", report), *report.get("subsets", {}).items()):
        for row in part["rows"]:
            figures = dict(row)
            for name in (*ESTIMATORS, "selection_accuracy"):
                low, high = row[f"{name}_interval"] or (None, None)
                figures |= {f"{name}_low": low, f"{name}_high": high}
            yield subset, part["num_problems"], row["n"], *map(figures.get, FIGURES)


def _value_rows(outcomes: Outcomes) -> Iterator[tuple[Any, ...]]:
    """A row a problem and N, with what each estimator gives."""
    for row, problem_id in enumerate(outcomes.problem_ids):
        for column, n in enumerate(outcomes.n):
            cells = (
                outcomes.values[name][row, column] if name in outcomes.values else None
                for name in ESTIMATORS
            )
            yield problem_id, outcomes.subsets[row], n, *cells


def run(config: BestOfNConfig) -> None:
    """Writes report.json, best_of_n.csv, problems.csv and best_of_n.png; prints the table."""
    problems, num_refused = without_refused(read_candidates(config.candidates), config.scores)
    outcomes = find_outcomes(problems, read_scores(config.scores), config.votes)
    model = folders.model_of(config.scores, config.output)
    tasks = sorted({problem.task for problem in problems} - {""})
    report = {
        **_make_report(outcomes, config.resampling),
        "num_refused": num_refused,
        "model": model,
        "benchmark": " + ".join(tasks) or folders.benchmark_of(config.candidates),
        "config": presets.to_json(config),
    }
    tables: dict[str, folders.Table] = {
        "best_of_n.csv": (("subset", "num_problems", "n", *FIGURES), figure_rows(report)),
        folders.VALUES["best_of_n"]: (
            ("problem_id", "subset", "n", *ESTIMATORS),
            _value_rows(outcomes),
        ),
    }
    figure = plots.make_figure(list(plots.best_of_n_panels({model: report}).values()))
    folders.write_folder(config.output, report, tables, {"best_of_n.png": figure})
    print(best_of_n_table(report))
    for line in remarks(report):
        print(line)
    last = report["rows"][-1]
    print(
        f"best of {last['n']} {last['best_of_n']:.1%} over {report['num_problems']} problems, random "
        f"pick {last['random']:.1%}, oracle {last['oracle']:.1%}: {config.output}"
    )


def remarks(report: dict[str, Any]) -> Iterator[str]:
    """What a reader of the table has to know: sentences."""
    few, most = report["num_candidates"], report["most_candidates"]
    if few < most:
        yield f"N runs to the smallest number of candidates of a problem: {few}; the greatest is {most}."
    if report["no_votes_because"]:
        yield f"Votes do not apply: {report['no_votes_because']}."
    else:
        worst = max(row[f"{name}_standard_error"] for row in report["rows"] for name in VOTES)
        yield (
            f"Votes: {report['vote_draws']} random subsets a problem where there are more, standard error "
            f"at most {100 * worst:.2f} points; softmax at temperature {report['vote_temperature']:g}."
        )
        if report["num_without_answer"]:
            yield f"{report['num_without_answer']} candidates have no answer and do not vote."
    if report["num_contradictions"]:
        yield (
            f"In {report['num_contradictions']} problems equal answers are judged differently; votes take "
            "the mean of their judgements."
        )
    if report.get("num_refused"):
        yield f"{report['num_refused']} problems are left out, as scoring left them out."
    if report["num_unused_scores"]:
        yield f"{report['num_unused_scores']} scores are of other texts than the candidates."
